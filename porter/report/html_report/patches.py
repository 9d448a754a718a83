"""The levels of a port as their patches tell them: why, for whom, and the diff."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from porter.series.header import FIELDS
from porter.series.series import Patch, load_series
from porter.terminal import plain
from porter.verify.recipe.schema import UPSTREAM

LineKind = Literal["file", "hunk", "add", "del", "same"]
MOST_LINES = 600
_FILE_HEADS = (
    "diff --git ", "index ", "--- ", "+++ ", "new file", "deleted file", "old mode", "new mode",
    "rename ", "copy ", "similarity ", "GIT binary", "Binary files",
)  # fmt: skip


@dataclass(frozen=True)
class LevelDiff:
    """One level. ``lines`` are (kind, text) of its patch's diff; ``more`` were left out."""

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
    """Return every level of a port, level 0 first. Raises BadInput for a series that is wrong."""
    zero = LevelDiff(0, UPSTREAM, "The pinned upstream, unchanged", "", (), (), 0, 0, (), 0)
    patches = load_series(root, port).patches
    return [zero, *(_level(number, patch) for number, patch in enumerate(patches, 1))]


def _level(number: int, patch: Patch) -> LevelDiff:
    text = patch.raw[patch.diff.first_byte :].decode("utf-8", "backslashreplace")
    lines = [_line(line) for line in text.rstrip("\n").split("\n")]
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
        added=sum(kind == "add" for kind, _ in lines),
        removed=sum(kind == "del" for kind, _ in lines),
        lines=tuple(lines[:MOST_LINES]),
        more=max(len(lines) - MOST_LINES, 0),
    )


def _why(body: str) -> str:
    """Return a header's text without the paragraphs of fields."""
    paragraphs = body.split("\n\n")
    starts = tuple(f"{name}:" for name in FIELDS)
    return "\n\n".join(part for part in paragraphs if not part.startswith(starts)).strip()


def _line(raw: str) -> tuple[LineKind, str]:
    line = plain(raw.rstrip("\r"))
    if line.startswith("@@"):
        return "hunk", line
    if line.startswith(_FILE_HEADS):
        return "file", line
    if line.startswith("+"):
        return "add", line
    return ("del" if line.startswith("-") else "same"), line
