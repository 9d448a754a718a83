"""Git diffs as values: sections, hunks, and oddities.

:mod:`porter.series.diffreader` produces them. Anything that ``git diff`` would not have written is
a :class:`NonCanonical` oddity. ``porter.levels.applier`` applies only diffs without one, whose
meaning is unambiguous, and leaves the rest to git. Nothing is decoded: file names and lines are
bytes, and lines end at LF only and keep a CR before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from porter.git.objects import Oid

Kind = Literal["modify", "add", "delete", "rename", "copy"]

MODES = (0o100644, 0o100755, 0o120000, 0o160000)


def split_lines(content: bytes) -> list[bytes]:
    """Return the lines of a file, each with its LF; the last may lack it."""
    lines = [line + b"\n" for line in content.split(b"\n")]
    last = lines.pop()[:-1]
    if last:
        lines.append(last)
    return lines


def _is_context(line: bytes) -> bool:
    return line[:1] == b" "


@dataclass(frozen=True, slots=True)
class Hunk:
    """One ``@@`` block. ``old_text`` and ``new_text`` are the bytes of both sides.

    ``lines`` are the hunk's own lines, marker first. A side's last line lacks its newline where the
    diff says so. ``line`` is the number of the ``@@`` line in the patch file.
    """

    old_start: int
    old_count: int
    new_start: int
    new_count: int
    heading: bytes
    lines: tuple[bytes, ...]
    old_text: bytes
    new_text: bytes
    line: int

    @property
    def old(self) -> tuple[bytes, ...]:
        """The lines of the old side, each with its newline."""
        return tuple(split_lines(self.old_text))

    @property
    def new(self) -> tuple[bytes, ...]:
        """The lines of the new side, each with its newline."""
        return tuple(split_lines(self.new_text))

    @property
    def leading(self) -> int:
        """The number of context lines before the first change."""
        return sum(1 for _ in takewhile(_is_context, self.lines))

    @property
    def trailing(self) -> int:
        """The number of context lines after the last change."""
        return sum(1 for _ in takewhile(_is_context, reversed(self.lines)))

    @property
    def header(self) -> str:
        """``@@ -a,b +c,d @@`` as git prints it."""
        old = f"{self.old_start}" + (f",{self.old_count}" if self.old_count != 1 else "")
        new = f"{self.new_start}" + (f",{self.new_count}" if self.new_count != 1 else "")
        return f"@@ -{old} +{new} @@"


@dataclass(frozen=True, slots=True)
class BinaryPart:
    """A binary patch: ``literal`` or ``delta`` with a size, or ``none`` without content."""

    method: Literal["literal", "delta", "none"]
    size: int
    line: int


@dataclass(frozen=True, slots=True)
class NonCanonical:
    """Something ``git diff`` would not have written, and its line. ``ignored``: git skips it."""

    line: int
    text: str
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class FilePatch:
    """One ``diff --git`` section. ``old_path`` is None if new, ``new_path`` if deleted.

    Modes and ids are None where the diff does not state them; ids may be abbreviated.
    """

    kind: Kind
    old_path: bytes | None
    new_path: bytes | None
    old_mode: int | None
    new_mode: int | None
    old_id: str | None
    new_id: str | None
    hunks: tuple[Hunk, ...]
    binary: BinaryPart | None
    line: int

    @property
    def path(self) -> bytes:
        """The file's name after the patch (before it, for a deletion)."""
        path = self.new_path if self.new_path is not None else self.old_path
        assert path is not None
        return path

    @property
    def full_new_id(self) -> Oid | None:
        return Oid(self.new_id) if self.new_id is not None and len(self.new_id) == 40 else None

    @property
    def paths(self) -> tuple[bytes, ...]:
        """Every path the section names, each once."""
        return tuple(dict.fromkeys(p for p in (self.old_path, self.new_path) if p is not None))


@dataclass(frozen=True, slots=True)
class Diff:
    """All sections of a patch file and all its oddities."""

    files: tuple[FilePatch, ...]
    oddities: tuple[NonCanonical, ...]
    first_line: int
    """Line number of the first ``diff --git`` (one past the last line when there is none)."""
    first_byte: int

    @property
    def doubtful(self) -> tuple[NonCanonical, ...]:
        """The oddities that git may read differently than porter."""
        return tuple(o for o in self.oddities if not o.ignored)
