"""Find the lines of the level's tree in what a failed run wrote to stderr.

Python's traceback of a probe begins in porter's harness and often ends in torch; the lines to look
at are those of the tree in between. They are read from the text, since a process that the run
started, or one that hung and was killed, leaves nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST = 3
_HEAD = re.compile(
    r"^(?P<head>.*Traceback \(most recent call last\):|.*\(most recent call first\):)$", re.M
)
_FRAME = re.compile(r'^\W*File "(?P<path>[^"]+)", line (?P<line>\d+),? in (?P<name>.+)$', re.M)
_CHAINED = re.compile(
    r"(?:The above exception was the direct cause of the following exception"
    r"|During handling of the above exception, another exception occurred):\s*\Z"
)


@dataclass(frozen=True)
class _Traceback:
    """One traceback of a text; ``follows``: it continues the one before it."""

    text: str
    deepest_first: bool
    follows: bool


def frames_in_tree(stderr: str, tree: Path) -> str:
    """Return the deepest frames inside ``tree`` of what ended a run, deepest first, one a line.

    Of a chain of exceptions that is the first one with such frames: the cause. Without any, it is
    the last traceback before that has some. "" if there is none.
    """
    found = list(_tracebacks(stderr))
    start = len(found) - 1
    while start > 0 and found[start].follows:
        start -= 1
    for traceback in (*found[max(start, 0) :], *reversed(found[: max(start, 0)])):
        if lines := _lines(traceback, tree):
            return "\n".join(lines)
    return ""


def _tracebacks(text: str) -> Iterator[_Traceback]:
    heads = list(_HEAD.finditer(text))
    ends = [*(each.start() for each in heads), len(text)][1:]
    for head, end in zip(heads, ends, strict=True):
        follows = _CHAINED.search(text, 0, head.start()) is not None
        yield _Traceback(text[head.end() : end], "call first" in head["head"], follows)


def _lines(traceback: _Traceback, tree: Path) -> list[str]:
    folders = {os.fspath(tree), os.fspath(tree.resolve())}
    frames = []
    for frame in _FRAME.finditer(traceback.text):
        path = Path(frame["path"])
        inside = next((f for f in folders if path.is_relative_to(f)), None)
        if inside is not None:
            source = _source(path, int(frame["line"]))
            where = f"{path.relative_to(inside)}:{frame['line']} in {frame['name'].strip()}"
            frames.append(f"{where}: {source}" if source else where)
    return frames[:MOST] if traceback.deepest_first else frames[::-1][:MOST]


def _source(path: Path, number: int) -> str:
    """Return a line of a file without its indentation; "" if it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""
