"""Terminal output: optional colour, tables that fit, a pager for long diffs.

Not rich, because importing it takes several times as long as a short command's own work
(``status``, ``log``, ``list``). Nothing is ever cut off: a cell that is too long continues on the
next line in its own column, so pipes and 80 columns show the same words.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import IO, Any

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_DIFF_STYLES: dict[str | tuple[str, ...], str] = {
    ("diff --git ", "index ", "--- ", "+++ ", "new file", "deleted file"): "bold",
    "@@": "cyan",
    "+": "green",
    "-": "red",
}
_NARROWEST = 24


def colour_wanted(stream: IO[str] | None = None) -> bool:
    """Return whether ``stream`` (stdout) gets colour.

    ``NO_COLOR`` (any value) says no, then ``FORCE_COLOR`` yes, then a terminal that is not dumb.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    stream = stream or sys.stdout
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def screen_width() -> int:
    """Return the width of the screen: ``COLUMNS``, else the terminal's, else 80."""
    import shutil

    return max(shutil.get_terminal_size((80, 24)).columns, 40)


def paint(text: str, style: str | None, colour: bool) -> str:
    """Return ``text`` in ``style`` (one of bold, dim, red, green, yellow, cyan) if ``colour``."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour and style and text else text


def readable(path: bytes | str) -> str:
    """Return a path fit for printing: quoted as by git if it has unusual bytes."""
    from porter.git.quoting import show_path

    return show_path(os.fsencode(path) if isinstance(path, str) else path)


def counted(number: int, noun: str) -> str:
    """Return "1 file", "2 files", "2 entries", "2 patches"."""
    if noun.endswith("y"):
        plural = noun[:-1] + "ies"
    else:
        plural = noun + ("es" if noun.endswith("ch") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def listed(names: Iterable[str], limit: int = 6) -> str:
    """Return the first ``limit`` names, comma-separated, and the number of the others."""
    names = list(names)
    more = [f"and {len(names) - limit} more"] if len(names) > limit else []
    return ", ".join([*names[:limit], *more])


def and_listed(words: Sequence[str]) -> str:
    """Return words as a sentence lists them: ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def flow(text: str, indent: int = 0, width: int | None = None) -> list[str]:
    """Return ``text`` in lines that fit the screen; those after the first are indented 2 more."""
    import textwrap

    return textwrap.wrap(
        text,
        width or screen_width(),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_on_hyphens=False,
        break_long_words=False,
    )


def plain(text: str) -> str:
    """Return ``text`` without control characters, so that a patch cannot control a terminal."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")


def _cells(text: str) -> int:
    """Return the columns that ``text`` takes on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata

    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _wrap(text: str, width: int) -> list[str]:
    if _cells(text) <= width:
        return [text]
    import textwrap

    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def table(
    rows: Sequence[Sequence[str]],
    *,
    head: Sequence[str] = (),
    right: Sequence[int] = (),
    styles: Sequence[str | None] = (),
    row_styles: Sequence[str | None] = (),
    colour: bool = False,
    width: int | None = None,
    indent: int = 0,
) -> list[str]:
    """Return the lines of a table of ``rows``.

    Columns are as wide as their widest cell; the last takes what is left of ``width`` and wraps.
    ``right`` are the numbers of the right-aligned columns, ``styles`` a style for each column,
    ``row_styles`` one for each row (it wins).
    """
    everything = [tuple(head), *rows] if head else list(rows)
    if not everything:
        return []
    columns = max(len(row) for row in everything)
    widths = [
        max(_cells(row[i]) if i < len(row) else 0 for row in everything) for i in range(columns)
    ]
    taken = indent + sum(w + 2 for w in widths[:-1])
    last = max((width or screen_width()) - taken, _NARROWEST)
    lines = []
    for number, row in enumerate(everything):
        is_head = bool(head) and number == 0
        own = None if is_head or not row_styles else row_styles[number - bool(head)]
        parts = []
        for i, cell in enumerate(row[:-1]):
            gap = " " * (widths[i] - _cells(cell))
            style = "bold" if is_head else own or (styles[i] if i < len(styles) else None)
            shown = paint(cell, style, colour)
            parts.append(gap + shown if i in right else shown + gap)
        end = len(row) - 1
        style = "bold" if is_head else own or (styles[end] if end < len(styles) else None)
        for at, piece in enumerate(_wrap(row[-1], last)):
            lead = " " * indent + "  ".join(parts) if at == 0 else " " * (taken - 2)
            lines.append(
                (lead + ("  " if lead.strip() or at else "") + paint(piece, style, colour)).rstrip()
            )
    return lines


def emit(lines: Iterable[str]) -> None:
    """Print ``lines`` to stdout in one write, escaping what the encoding cannot express."""
    text = "".join(f"{line}\n" for line in lines)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def emit_json(value: Any) -> None:
    """Print ``value`` as JSON, indented, keys in the order given."""
    import json

    emit([json.dumps(value, indent=2)])


def paint_diff(diff: bytes, colour: bool) -> list[str]:
    """Return the lines of a diff, coloured as git does; bytes that are not UTF-8 are escaped."""
    lines = []
    for raw in diff.decode("utf-8", "backslashreplace").split("\n"):
        line = plain(raw.rstrip("\r"))
        styles = (style for start, style in _DIFF_STYLES.items() if line.startswith(start))
        lines.append(paint(line, next(styles, None), colour))
    if lines and not lines[-1]:
        lines.pop()
    return lines


def page(lines: Sequence[str]) -> None:
    """Show ``lines`` in a pager if stdout is a terminal too small for them, else print them.

    The pager is ``PORTER_PAGER``, ``PAGER`` or ``less``; an empty value or ``cat`` means none.
    """
    import shutil

    pager = os.environ.get("PORTER_PAGER", os.environ.get("PAGER", "less"))
    fits = len(lines) < shutil.get_terminal_size((80, 24)).lines
    if not sys.stdout.isatty() or fits or pager in ("", "cat"):
        emit(lines)
        return
    import subprocess

    environment = {"LESS": "FRX", **os.environ}
    try:
        process = subprocess.Popen(pager, shell=True, stdin=subprocess.PIPE, env=environment)
    except OSError:
        emit(lines)
        return
    try:
        process.communicate(
            "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        )
    except KeyboardInterrupt:
        process.wait()
