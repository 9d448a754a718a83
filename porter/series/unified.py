"""Read a linted patch with unidiff, for its added lines and its counts.

Whether a text is a patch, and what it does to a tree, is for :mod:`porter.series.diffreader` alone:
unidiff drops what follows a hunk and takes several times as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unidiff.patch import PatchedFile, PatchSet

    from porter.series.series import Patch


def diff_text(patch: Patch) -> str:
    """Return the diff of a patch file, without its header; bytes that are not UTF-8 are escaped."""
    return patch.raw[patch.diff.first_byte :].decode("utf-8", "backslashreplace")


def read_diff(text: str) -> PatchSet:
    """Return the files of a diff, in its order."""
    from unidiff.patch import PatchSet  # only some commands read patches so

    return PatchSet(text)


def added_lines(file: PatchedFile) -> frozenset[int]:
    """Return the numbers, in the new file, of the lines that a patch adds."""
    numbers = (line.target_line_no for hunk in file for line in hunk if line.is_added)
    return frozenset(number for number in numbers if number is not None)
