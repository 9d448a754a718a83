"""The levels of a port from their patches: why, for which devices, and the diff."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from porter.series.header import FIELDS
from porter.series.series import Patch, load_series
from porter.series.unified import diff_text, read_diff
from porter.terminal import plain
from porter.verify.recipe.schema import UPSTREAM

if TYPE_CHECKING:
    from unidiff.patch import PatchedFile

LineKind = Literal["file", "hunk", "add", "del", "same"]
MOST_LINES = 600
_KINDS: dict[str, LineKind] = {"+": "add", "-": "del"}


@dataclass(frozen=True)
class LevelDiff:
    """One level. ``lines`` are (kind, text) of its patch's diff, ``more`` how many are left out."""

    number: int
    name: str
    subject: str
    body: str
    fields: tuple[tuple[str, str], ...]
    files: tuple[str, ...]
    added: int
    removed: int
    lines: tuple[tuple[LineKind, str], ...]
    more: int


def level_diffs(root: Path, port: str) -> list[LevelDiff]:
    """Return every level of a port, level 0 first. Raises BadInput for a wrong series."""
    zero = LevelDiff(0, UPSTREAM, "The pinned upstream, unchanged", "", (), (), 0, 0, (), 0)
    patches = load_series(root, port).patches
    return [zero, *(_level(number, patch) for number, patch in enumerate(patches, 1))]


def _level(number: int, patch: Patch) -> LevelDiff:
    text = diff_text(patch)
    diff = read_diff(text)
    lines = _diff_lines(text, diff)
    header = patch.header
    fields = [
        ("Devices", ", ".join(header.devices)),
        ("Keeps", header.keeps),
        ("Gains", header.gains),
        ("Origin", header.origin),
        ("Forwarded", header.forwarded),
    ]
    return LevelDiff(
        number=number,
        name=patch.level,
        subject=header.subject,
        body=_why(header.body),
        fields=tuple((name, value) for name, value in fields if value),
        files=tuple(plain(file.path.decode("utf-8", "replace")) for file in patch.files),
        added=diff.added,
        removed=diff.removed,
        lines=tuple(lines[:MOST_LINES]),
        more=max(len(lines) - MOST_LINES, 0),
    )


def _why(body: str) -> str:
    """Return a header's text without the paragraphs of its fields."""
    paragraphs = body.split("\n\n")
    starts = tuple(f"{name}:" for name in FIELDS)
    return "\n\n".join(part for part in paragraphs if not part.startswith(starts)).strip()


def _diff_lines(text: str, files: Iterable[PatchedFile]) -> list[tuple[LineKind, str]]:
    """Return every line of a diff with its kind, as unidiff reads it."""
    kinds: dict[int, LineKind] = {}
    for line in (line for file in files for hunk in file for line in hunk):
        if line.diff_line_no is not None:
            kinds[line.diff_line_no] = _KINDS.get(line.line_type, "same")
    return [
        (kinds.get(number, "hunk" if raw.startswith("@@") else "file"), plain(raw.rstrip("\r")))
        for number, raw in enumerate(text.rstrip("\n").split("\n"), 1)
    ]
