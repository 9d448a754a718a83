"""A linted patch read with unidiff gives the lines that porter's strict reader gives."""

from __future__ import annotations

from pathlib import Path

from porter.series.diff import FilePatch
from porter.series.series import load_series
from porter.series.unified import added_lines, diff_text, read_diff

PROJECT = Path(__file__).resolve().parents[2]
PORTS = sorted(path.parent.name for path in (PROJECT / "patches").glob("*/series"))


def added_by(file: FilePatch) -> set[int]:
    """Return the numbers of a file's added lines, from the strict reader."""
    numbers = set()
    for hunk in file.hunks:
        number = hunk.new_start
        for line in hunk.lines:
            if line[:1] == b"+":
                numbers.add(number)
            number += line[:1] in (b"+", b" ")
    return numbers


def test_both_readers_agree_on_every_patch_of_the_project() -> None:
    patches = [patch for port in PORTS for patch in load_series(PROJECT, port).patches]

    assert len(patches) > 40
    for patch in patches:
        for file, other in zip(patch.files, read_diff(diff_text(patch)), strict=True):
            removed = sum(line[:1] == b"-" for hunk in file.hunks for line in hunk.lines)
            assert (added_lines(other), other.removed) == (added_by(file), removed), patch.name


def test_lines_that_look_like_a_header_are_lines_of_the_hunk() -> None:
    text = "diff --git a/q b/q\n--- a/q\n+++ b/q\n@@ -1,2 +1,2 @@\n--- x\n+++ y\n z\n"

    (file,) = read_diff(text)

    assert (file.added, file.removed, added_lines(file)) == (1, 1, {1})
