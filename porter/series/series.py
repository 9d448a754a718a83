"""Read a port's patch series: the quilt ``series`` file and the patches it names, in order.

Last lines ``# off: NNNN-name.patch`` name levels that are off by default: quilt sees a comment,
porter a level on top of the series. It is built, locked and checked like any other, and used only
when it is named.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from porter.errors import BadInput
from porter.places import patches_dir
from porter.series.header import Header, Problem, parse_header

if TYPE_CHECKING:
    from porter.series.diff import Diff, FilePatch

SERIES_FILE = "series"

OFF = "# off: "
"""Start of a line in a series file that names a level which is off by default."""
_OFF_LINE = re.compile(r"\s*#\s*off:\s*(.*)")


@dataclass(frozen=True)
class Patch:
    """One patch file: its bytes and parsed header. The diff is parsed on first use.

    ``off``: the series switches it off by default.
    """

    name: str
    path: Path
    raw: bytes
    sha256: str
    header: Header
    problems: tuple[Problem, ...]
    off: bool = False

    @cached_property
    def diff(self) -> Diff:
        from porter.series.diffreader import parse_diff

        return parse_diff(self.raw)

    @property
    def files(self) -> tuple[FilePatch, ...]:
        """The ``diff --git`` sections."""
        return self.diff.files

    @property
    def level(self) -> str:
        """The name of the level this patch leads to."""
        return self.header.level


@dataclass(frozen=True)
class Series:
    """The ordered patches of a port."""

    port: str
    folder: Path
    patches: tuple[Patch, ...]


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """One patch named in a series file, and the line that names it."""

    name: str
    line: int
    off: bool = False


def read_patch(path: Path, *, off: bool = False) -> Patch:
    """Read one patch file. Raises BadInput when there is no such file."""
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except (FileNotFoundError, IsADirectoryError):
        raise BadInput(f"{path}: expected a patch file (the series names it), found none") from None
    header, problems = parse_header(raw)
    digest = hashlib.sha256(raw).hexdigest()
    return Patch(path.name, path, raw, digest, header, tuple(problems), off)


def line_words(line: str) -> tuple[list[str], bool]:
    """Return the words of a line in a series file without comments, and whether it says "off"."""
    off = _OFF_LINE.match(line)
    return (off[1] if off else line.split("#", 1)[0]).split(), off is not None


def read_series_file(path: Path) -> tuple[list[SeriesLine], list[Problem]]:
    """Read a quilt ``series`` file: one file name a line, ``#`` comments, ``-p1`` and nothing else.

    Lines ``# off: NAME`` come last: no level may build on one that is off by default.

    Raises BadInput when there is no such file.
    """
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(f"{path}: expected a series file (quilt format), found none") from None
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path}: expected UTF-8, found byte {error.object[error.start]:#x}"
        ) from None
    lines: list[SeriesLine] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        words, is_off = line_words(line)
        if not words:
            continue
        if not is_off and lines and lines[-1].off:
            found = f"{lines[-1].name} (off by default) above {words[0]}"
            problems.append(Problem(number, f"expected levels that are off last, found {found}"))
        name, *options = words
        if any(option != "-p1" for option in options):
            found = " ".join(options)
            problems.append(Problem(number, f"expected a file name alone, found options {found!r}"))
        if "/" in name or "\\" in name or name.startswith(("-", ".")):
            problems.append(Problem(number, f"expected a file name in this folder, found {name!r}"))
        elif name in seen:
            problems.append(Problem(number, f"{name}: repeated, first on line {seen[name]}"))
        else:
            seen[name] = number
            lines.append(SeriesLine(name, number, is_off))
    return lines, problems


def load_series(root: Path, port: str) -> Series:
    """Read the series of ``port`` and its patches.

    Raises BadInput for the first problem that keeps a level from being named or built: an
    unreadable series, a missing patch, a header without author, date, subject or level, a repeated
    level name.
    """
    folder = patches_dir(root, port)
    path = folder / SERIES_FILE
    lines, problems = read_series_file(path)
    for problem in problems:
        raise BadInput(f"{path}:{problem.line}: {problem.text}")
    patches: list[Patch] = []
    levels: dict[str, str] = {}
    for line in lines:
        patch = read_patch(folder / line.name, off=line.off)
        _refuse_unusable(patch)
        if patch.level in levels:
            first = levels[patch.level]
            where = f"{patch.path}:{patch.header.lines['Level']}"
            raise BadInput(f"{where}: Level: {first} already has the name {patch.level!r}")
        levels[patch.level] = patch.name
        patches.append(patch)
    return Series(port, folder, tuple(patches))


def _refuse_unusable(patch: Patch) -> None:
    for problem in patch.problems:
        if problem.blocks:
            where = f"{patch.path}:{problem.line}" if problem.line else str(patch.path)
            raise BadInput(f"{where}: {problem.text}; `porter lint` lists every problem")
