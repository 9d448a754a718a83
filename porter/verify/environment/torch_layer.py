"""Link torch and its dependencies from the interpreter that runs porter into probe environments.

A virtual environment made inside another does not see the other's packages, and if it saw all of
them, the user's transformers or numpy would decide a probe's result. So the layer is a folder of
links, one per module or package of torch, safetensors, an installed device plugin and their
dependencies (by each distribution's RECORD), with copies of their metadata, so that pip inside the
environment counts them as installed. The copies have no RECORD: pip could not uninstall through the
links even if it tried, and it does not try, since the layer is outside the environment's folder.

If the files of a distribution are unknown (an editable torch, no RECORD), the layer is the
interpreter's whole site-packages.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import Distribution
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from porter.errors import BadInput

ROOTS = ("torch", "safetensors")
PLUGINS = ("habana-torch-plugin", "torch-npu")
PINNED = frozenset({"torch", *PLUGINS})
"""Provided by the layer alone: no requirements file may list them or change their version."""


@dataclass(frozen=True)
class Layer:
    """The distributions to link, or the ``whole`` folders to expose where links are impossible."""

    distributions: tuple[Distribution, ...]
    whole: tuple[Path, ...]
    why_whole: str

    @property
    def torch_version(self) -> str:
        return next(d.version for d in self.distributions if _name(d) == "torch")

    @property
    def pinned(self) -> dict[str, str]:
        """Versions of torch and the plugins, which no requirement may change."""
        return {_name(d): d.version for d in self.distributions if _name(d) in PINNED}

    @cached_property
    def content(self) -> list[str]:
        """Names, versions and hashes of what is linked: the same wherever it is installed.

        A distribution without a RECORD of hashes counts by its location.
        """
        rows = []
        for distribution in self.distributions:
            found = _content_hash(distribution) or str(distribution.locate_file(""))
            rows.append(f"{_name(distribution)}=={distribution.version} {found}")
        return [*sorted(rows), *(str(folder) for folder in self.whole)]

    def identity(self) -> list[str]:
        """What decides where an environment's links lead: names, versions, locations."""
        rows = []
        for distribution in self.distributions:
            metadata = distribution.metadata  # parsed anew at every access
            name, location = canonicalize_name(metadata["Name"]), distribution.locate_file("")
            rows.append(f"{name}=={metadata['Version']} {location}")
        return [*sorted(rows), *(str(folder) for folder in self.whole)]


def find_layer() -> Layer:
    """Return the layer of the running interpreter.

    Raises BadInput if torch or safetensors is not installed there.
    """
    found: dict[str, Distribution] = {}
    for root in ROOTS:
        if not _collect(root, found):
            raise BadInput(
                f"{sys.executable}: {root} is not installed here, and probes run on it; "
                f"install it with `{sys.executable} -m pip install {root}`"
            )
    for plugin in PLUGINS:
        _collect(plugin, found)
    distributions = tuple(found.values())
    for distribution in distributions:
        if not _tops(distribution):
            name = _name(distribution)
            why = f"{name} is an editable install or has no RECORD"
            return Layer(distributions, _whole_folders(distributions), why)
    return Layer(distributions, (), "")


def write_layer(layer: Layer, folder: Path) -> tuple[Path, ...]:
    """Write the links into ``folder``; return the folders to put on the environment's path."""
    if layer.whole:
        return layer.whole
    folder.mkdir(parents=True)
    for distribution in layer.distributions:
        for top, target in _tops(distribution).items():
            link = folder / top
            if not os.path.lexists(link):  # namespace packages have more than one owner
                link.symlink_to(target)
        _copy_metadata(distribution, folder)
    return (folder,)


def _name(distribution: Distribution) -> str:
    return canonicalize_name(distribution.metadata["Name"])


def _collect(root: str, found: dict[str, Distribution]) -> bool:
    """Add the distribution and what it needs to ``found``; False when it is not installed.

    Markers are evaluated for the running interpreter. A requirement's extras are followed (torch
    names its CUDA libraries as extras of one package).
    """
    pending = [(canonicalize_name(root), "")]
    seen = set()
    while pending:
        name, extra = pending.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            distribution = found.get(name) or importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found[name] = distribution
        for requirement in _requirements(distribution):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                other = canonicalize_name(requirement.name)
                pending += [(other, wanted) for wanted in ("", *requirement.extras)]
    return canonicalize_name(root) in found


def _content_hash(distribution: Distribution) -> str:
    """Return the hash of the hashes of a distribution's files; "" where it states none.

    Left out is what pip writes for the place: scripts outside the folder of packages, metadata.
    """
    record = distribution.read_text("RECORD") or ""
    rows = [line for line in record.splitlines() if ",sha256=" in line]
    rows = [row for row in rows if ".dist-info/" not in row and not row.startswith(("..", "/"))]
    text = "\n".join(sorted(rows))
    return hashlib.sha256(text.encode()).hexdigest()[:16] if rows else ""


def _requirements(distribution: Distribution) -> Iterator[Requirement]:
    for line in distribution.requires or ():
        with suppress(InvalidRequirement):  # of an old release: pip ignores such a line, too
            yield Requirement(line)


def _tops(distribution: Distribution) -> dict[str, Path]:
    """Return the modules and packages of a distribution: name in site-packages -> path."""
    tops: dict[str, Path] = {}
    for top in _first_parts(distribution):
        skipped = top in ("..", "__pycache__") or top.endswith((".dist-info", ".egg-info", ".pth"))
        if not skipped and not top.startswith("__editable__"):
            tops[top] = Path(str(distribution.locate_file(top)))
    return {top: target for top, target in tops.items() if target.exists()}


def _first_parts(distribution: Distribution) -> Iterable[str]:
    """Return the first part of the path of each of its files, without repeats.

    Parsed from RECORD where there is one: `Distribution.files` makes a path object of every line,
    which takes a second for torch.
    """
    record = distribution.read_text("RECORD")
    if record is None:
        return dict.fromkeys(file.parts[0] for file in distribution.files or ())
    rows = csv.reader(record.splitlines())
    return dict.fromkeys(row[0].partition("/")[0] for row in rows if row)


def _copy_metadata(distribution: Distribution, folder: Path) -> None:
    name = distribution.metadata["Name"].replace("-", "_")
    info = folder / f"{name}-{distribution.version}.dist-info"
    if info.exists():
        return
    info.mkdir()
    for file in ("METADATA", "entry_points.txt", "top_level.txt", "WHEEL"):
        text = distribution.read_text(file)
        if text is None and file == "METADATA":
            text = distribution.read_text("PKG-INFO")
        if text is not None:
            (info / file).write_text(text, encoding="utf-8")
    (info / "INSTALLER").write_text("porter\n")


def _whole_folders(distributions: tuple[Distribution, ...]) -> tuple[Path, ...]:
    folders = [Path(str(d.locate_file(""))).absolute() for d in distributions]
    for root in ROOTS:
        spec = importlib.util.find_spec(root)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            folders.append(Path(location).absolute().parent)
    return tuple(dict.fromkeys(folders))
