"""Read a port's patch series: the quilt ``series`` file and the patches it names, in order.

Last lines ``# off: NNNN-name.patch`` name levels that are off by default: quilt sees a comment,
porter a level on top of the series. It is built, locked and checked like any other, and used only
when it is named.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
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
BOM = "\ufeff"

OFF = "# off: "
"""Start of a line in a series file that names a level which is off by default."""
_OFF_LINE = re.compile(r"#[ \t]*off:[ \t]*(.*)")
_COMMENT = re.compile(r"[ \t]+#.*")
_PLAIN = "._+-~@=,"
"""What may stand in a patch's name beside letters and digits."""
_OPTIONS = {
    "-R": "porter applies no patch in reverse",
    "-p0": "porter strips one folder from each name, as git does (-p1)",
}


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

    def added_files(self) -> dict[bytes, str]:
        """Return the files that the patches add, each with the first level that does."""
        found: dict[bytes, str] = {}
        for patch in self.patches:
            for file in patch.files:
                if file.old_path is None and file.new_path is not None:
                    found.setdefault(file.new_path, patch.level)
        return found


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
    """Return the words of a line in a series file without comments, and whether it says "off".

    As in quilt, only spaces and tabs part words, and a comment begins the line or follows a blank.
    """
    off = _OFF_LINE.match(line)
    text = off[1] if off else "" if line.startswith("#") else line
    text = _COMMENT.sub("", text.strip(" \t"))
    return re.split(r"[ \t]+", text) if text else [], off is not None


def read_series_file(path: Path) -> tuple[list[SeriesLine], list[Problem]]:
    """Read a quilt ``series`` file: one file name a line, ``#`` comments, ``-p1`` and nothing else.

    What is read without a problem, quilt reads the same (``cat_series`` and ``patch_args`` of its
    ``patchfns``). Lines ``# off: NAME`` come last: no level may build on one that is off by
    default.

    Raises BadInput when there is no such file.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(
            f"{path}: expected a series file (quilt format), found none; a pin without a series"
            " is no port and has no levels (`porter list` names the ports)"
        ) from None
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path}: expected UTF-8, found byte {error.object[error.start]:#x}"
        ) from None
    lines: list[SeriesLine] = []
    problems = list(_line_end_problems(text))
    seen: dict[str, int] = {}
    for number, line in enumerate(text.removeprefix(BOM).split("\n"), 1):
        words, is_off = line_words(line.removesuffix("\r"))
        if not words:
            continue
        if not is_off and lines and lines[-1].off:
            found = f"{lines[-1].name} (off by default) above {words[0]}"
            problems.append(Problem(number, f"expected levels that are off last, found {found}"))
        name, *options = words
        wrong = _wrong_name(name)
        if problem := wrong or _wrong_options(options):
            problems.append(Problem(number, problem))
        if name in seen:
            problems.append(Problem(number, f"{name}: repeated, first on line {seen[name]}"))
        elif not wrong:
            seen[name] = number
            lines.append(SeriesLine(name, number, is_off))
    return lines, problems


def _line_end_problems(text: str) -> Iterator[Problem]:
    """Yield the first of each: a byte order mark, a line of CR LF. quilt takes both for a name."""
    if text.startswith(BOM):
        yield Problem(1, "expected a file name or `#` first, found a byte order mark (BOM)")
    for number, line in enumerate(text.split("\n"), 1):
        if line.endswith("\r") and not line.startswith("#"):
            yield Problem(number, "expected lines that end in LF, found CR LF")
            return


def _wrong_name(name: str) -> str | None:
    """Return what is wrong with a patch's name, or None."""
    if name.startswith("#"):
        return f"expected a comment at the line's beginning, found {name!r} behind blanks"
    if "/" in name or "\\" in name or name.startswith(("-", ".")):
        return f"expected a file name in this folder, found {name!r}"
    if "#" in name:
        return f"expected a blank before the comment, found {name!r}, all of it a name to quilt"
    odd = next((char for char in name if not char.isalnum() and char not in _PLAIN), None)
    if odd is None:
        return None
    return f"expected letters, digits and {_PLAIN} in a file name, found {odd!r} in {name!r}"


def _wrong_options(options: Sequence[str]) -> str | None:
    """Return what is wrong with the words behind a name, or None."""
    found = " ".join(options)
    if re.fullmatch(r"(?:-p ?1(?: |\Z))*", found):
        return None
    why = next((f"; {_OPTIONS[option]}" for option in options if option in _OPTIONS), "")
    return f"expected a file name alone, found options {found!r}{why}"


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
        if not (folder / line.name).is_file():
            text = f"{line.name}: expected a patch file in this folder, found none"
            raise BadInput(f"{path}:{line.line}: {text}")
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
            more = "" if patch.header.bare else "; `porter lint` lists every problem"
            raise BadInput(f"{where}: {problem.text}{more}")
