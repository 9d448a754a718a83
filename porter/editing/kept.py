"""Patch files that stay as they are, though porter itself would write them in another form.

A patch made by another tool may fold its header or show more context. While its change and its
header mean the same, a command that is about another level must not rewrite it. Only
``porter export`` brings every patch into porter's form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from porter.editing.message import relabelled
from porter.errors import PorterError
from porter.levels.gitapply import Scratch
from porter.levels.levels import Level, build_levels
from porter.levels.rediff import export_diffs
from porter.places import patches_dir
from porter.series.header import parse_header
from porter.series.series import Patch, load_series
from porter.upstream.pins import Pins
from porter.upstream.store import open_upstream


def kept(
    project: Path,
    pins: Pins,
    port: str,
    objects: Path,
    files: Mapping[str, bytes],
    diffs: Sequence[bytes],
    renamed: Mapping[str, str],
) -> dict[str, bytes]:
    """Return new patch files, with the bytes of the standing series where those mean the same.

    ``diffs`` are those of ``files``, and ``renamed`` maps old level names to new ones. ``objects``
    is an object folder that has the levels of both.
    """
    pin = pins.port(port)
    standing = [path.read_bytes() for path in patches_dir(project, port).glob("*.patch")]
    if all(raw in standing for raw in files.values()):
        return dict(files)
    try:
        with open_upstream(pins.root, pin) as upstream:
            levels = build_levels(upstream, load_series(project, port))
        own = [pair for pair in pairwise(levels) if pair[1].patch is not None]
        with Scratch(objects) as scratch:
            pairs = [(below.tree, level.tree) for below, level in own]
            old_diffs = export_diffs(scratch, pairs, pin.context)
    except PorterError:  # no series that builds, so nothing to compare with
        return dict(files)
    old = {
        renamed.get(level.name, level.name): (_patch(level), diff)
        for (_, level), diff in zip(own, old_diffs, strict=True)
    }
    return {
        name: _same(raw, diff, *old[level]) if (level := name[5:-6]) in old else raw
        for (name, raw), diff in zip(files.items(), diffs, strict=True)
    }


def _patch(level: Level) -> Patch:
    assert level.patch is not None
    return level.patch


def _same(raw: bytes, diff: bytes, patch: Patch, old_diff: bytes) -> bytes:
    """Return the standing patch's bytes, its level renamed, if they mean the same as ``raw``."""
    new = parse_header(raw)[0]
    if diff != old_diff:
        return raw
    head, mark, rest = patch.raw.partition(b"\n---\n")
    renamed = relabelled(head.decode("utf-8", "surrogateescape"), new.level)
    candidate = renamed.encode("utf-8", "surrogateescape") + mark + rest
    header = parse_header(candidate)[0]
    alike = (header.message, header.author) == (new.message, new.author)
    return candidate if alike else raw
