"""Drafted levels as diffs, and what they leave."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from porter.draft.drafting import DraftedLevel
from porter.terminal import and_listed, counted


def draft_lines(levels: Sequence[DraftedLevel], files: Mapping[str, bytes]) -> Iterator[str]:
    """Yield levels as one diff after the other, each below a line that names it.

    ``git apply`` takes the whole text. ``files`` are the files before the first level.
    """
    now = dict(files)
    for level in levels:
        yield f"# {level.family.name}: {level.family.subject}"
        for path, content in level.files.items():
            yield from _diff(path, now.get(path), content)
        now.update(level.files)
    if not levels:
        yield "# nothing to draft"


def _diff(path: str, before: bytes | None, after: bytes) -> Iterator[str]:
    yield f"diff --git a/{path} b/{path}"
    if before is None:
        yield "new file mode 100644"
    old = (before or b"").decode().splitlines(keepends=True)
    new = after.decode().splitlines(keepends=True)
    source = f"a/{path}" if before is not None else "/dev/null"
    for line in difflib.unified_diff(old, new, source, f"b/{path}"):
        yield line.rstrip("\n")
        if not line.endswith("\n"):
            yield "\\ No newline at end of file"


def left_line(levels: Sequence[DraftedLevel]) -> list[str]:
    """Return a line about the findings that no level mends, if there are any."""
    left = [finding for level in levels for finding in level.left]
    if not left:
        return []
    codes = sorted({finding.code for finding in left})
    many = counted(len(left), "finding")
    return [f"left as they are, not being sure: {many} of {and_listed(codes)}; `porter scan`"]
