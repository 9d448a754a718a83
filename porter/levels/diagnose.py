"""Explain why git refuses a patch: find every failing hunk, and apply the rest.

git names one file and one line. Whoever moves a series to a new pin needs all of them at once: the
lines each hunk expects, the lines found there, and where the expected lines went. What applies is
kept, so that later patches are judged by their own faults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from porter.finding import Finding
from porter.git.objects import MODE_FILE, Entry, blob_id
from porter.git.quoting import show_path
from porter.git.treeedit import PathConflict, TreeEdit
from porter.levels.applier import (
    Contradicted,
    FileChange,
    NotStrict,
    ReadBlob,
    change_of,
    first_try,
    unsafe_path,
)
from porter.series.diff import Diff, FilePatch, Hunk, split_lines
from porter.terminal import counted


@dataclass(frozen=True, slots=True)
class PatchFailure:
    """Why one hunk (``hunk`` is its ``@@`` header) or a whole file (None) does not apply.

    ``line`` is the line in the patch file, ``at`` the line of the upstream file where the hunk
    belongs, ``found`` the lines there, ``moved`` the line where the expected lines are now and
    ``moved_to`` the path where a missing file's content is.
    """

    patch: str
    path: str
    reason: str
    line: int = 0
    hunk: str | None = None
    at: int = 0
    expected: tuple[bytes, ...] = ()
    found: tuple[bytes, ...] = ()
    moved: int | None = None
    moved_to: str | None = None
    by_git: bool = False
    """Whether ``reason`` is git's own words about the patch, or porter's reading beside them."""

    def __str__(self) -> str:
        """``path hunk: reason``, as far as the failure has them."""
        where = " ".join(filter(None, (self.path, self.hunk)))
        reason = f"{self.reason}; it is now {self.moved_to}" if self.moved_to else self.reason
        return f"{where}: {reason}" if where else reason

    def finding(self, port: str) -> Finding:
        """Return the failure as ``porter lint`` and the CI reports of ``porter check`` print it."""
        text = f"{self}; `porter check {port}` shows the lines" if self.hunk else str(self)
        return Finding(f"patches/{port}/{self.patch}", self.line, "apply", text)


def partial_apply(
    patch: str, diff: Diff, tree: TreeEdit, read: ReadBlob, refusal: str, line: int = 0
) -> tuple[list[FileChange], list[PatchFailure]]:
    """Apply as much of a refused patch to ``tree`` as fits; return the changes and failures.

    The first failure is git's ``refusal``; ``line`` is the line of the patch that git names. What
    porter reads comes after it: the hunks and files that do not fit, else the place where the text
    is no longer what git writes.
    """
    failures: list[PatchFailure] = []
    changes: list[FileChange] = []
    for file in diff.files:
        done, failed = _partly_applied(patch, file, tree, read)
        failures += failed + _apply(patch, file, done, tree, changes)
    if not failures:
        odd = [odd for odd in diff.doubtful if not line or odd.line <= line]
        near = odd[-1:] if line else odd[:1]
        failures = [PatchFailure(patch, "", odd.text, odd.line) for odd in near]
    words = PatchFailure(patch, "", f"git apply: {refusal}", line, by_git=True)
    return changes, [words, *failures]


def _apply(
    patch: str, file: FilePatch, done: list[FileChange], tree: TreeEdit, changes: list[FileChange]
) -> list[PatchFailure]:
    """Apply ``done`` to ``tree`` and append it to ``changes``, or return the conflict."""
    try:
        tree.change([(change.path, change.entry) for change in done])
    except PathConflict as conflict:
        reason = f"{show_path(conflict.args[0])} is in the way (a file and a folder of one name)"
        return [PatchFailure(patch, show_path(file.path), reason, file.line)]
    changes += done
    return []


def stated(
    patch: str, diff: Diff, tree: TreeEdit, read: ReadBlob
) -> tuple[list[FileChange], list[PatchFailure]]:
    """Compare what a patch states with ``tree`` where ``read`` has no content; apply what agrees.

    Failures are contradictions: a path, mode or id that differs from the tree's, or lines that a
    file whose content is known does not have. No failure proves nothing: only git could decide,
    and it needs the contents.
    """
    changes: list[FileChange] = []
    failures: list[PatchFailure] = []
    for file in diff.files:
        try:
            done, failed = change_of(file, tree, read), []
        except Contradicted as why:
            done = _as_claimed(file, tree)
            failed = [PatchFailure(patch, show_path(file.path), str(why), file.line)]
        except NotStrict:
            if file.old_path is not None and not _readable(file.old_path, tree, read):
                continue
            done, failed = _partly_applied(patch, file, tree, read)
        failures += _apply(patch, file, done, tree, changes) + failed
    return changes, failures


def _readable(path: bytes, tree: TreeEdit, read: ReadBlob) -> bool:
    entry = tree.get(path)
    return entry is None or not entry.is_blob or read(entry.oid) is not None


def _as_claimed(file: FilePatch, tree: TreeEdit) -> list[FileChange]:
    """Return the change that the index line states, so that later patches are judged too."""
    base = tree.get(file.path)
    if file.new_path is None or file.full_new_id is None or base is None or not base.is_blob:
        return []
    return [FileChange(file.new_path, Entry(base.mode, file.full_new_id), None, claimed=True)]


def _partly_applied(
    patch: str, file: FilePatch, tree: TreeEdit, read: ReadBlob
) -> tuple[list[FileChange], list[PatchFailure]]:
    name = show_path(file.path)
    found: list[PatchFailure] = []  # any other reason only says why git is asked
    try:
        return change_of(file, tree, read), []
    except Contradicted as reason:
        found = [PatchFailure(patch, name, str(reason), file.line)]
    except NotStrict:
        pass
    if any(unsafe_path(path) for path in file.paths):
        return [], found
    base = tree.get(file.old_path) if file.old_path is not None else None
    if file.old_path is not None and (base is None or not base.is_blob):
        return [], [
            PatchFailure(patch, show_path(file.old_path), "the file is not there", file.line)
        ]
    if file.kind in ("add", "rename", "copy"):
        there = tree.get(file.path)
        if there is not None and not there.is_tree:
            return [], [PatchFailure(patch, name, "a new file that exists already", file.line)]
    content = read(base.oid) if base is not None else b""
    if file.binary is not None or content is None or not file.hunks:
        return [], found
    new, failures = merge_hunks(patch, file, content)
    if file.kind == "delete":
        return ([] if new else [FileChange(file.path, None)]), failures
    mode = file.new_mode or (base.mode if base is not None else MODE_FILE)
    changes = [FileChange(file.path, Entry(mode, blob_id(new)), new)]
    if file.kind == "rename" and file.old_path is not None:
        changes.insert(0, FileChange(file.old_path, None))
    return changes, failures


@dataclass(frozen=True, slots=True)
class Offset:
    """A hunk whose lines are elsewhere than it says: ``lines`` further down (negative: up)."""

    path: str
    line: int
    hunk: str
    lines: int

    def __str__(self) -> str:
        where = f"{counted(abs(self.lines), 'line')} {'down' if self.lines > 0 else 'up'}"
        return f"{self.path} {self.hunk} applies {where}; `porter export` corrects the line numbers"


def moved_hunks(diff: Diff, tree: TreeEdit, read: ReadBlob) -> list[Offset]:
    """Return every hunk that fits only at another line of the files in ``tree``."""
    moved: list[Offset] = []
    for file in diff.files:
        base = tree.get(file.old_path) if file.old_path is not None else None
        content = read(base.oid) if base is not None and base.is_blob else None
        if content is None or not file.hunks:
            continue
        placed, _ = _place_hunks(file.hunks, split_lines(content))
        for hunk, start in placed:
            if away := start - max(hunk.old_start - (hunk.old_count > 0), 0):
                moved.append(Offset(show_path(file.path), hunk.line, hunk.header, away))
    return moved


def _place_hunks(
    hunks: Sequence[Hunk], lines: Sequence[bytes]
) -> tuple[list[tuple[Hunk, int]], list[tuple[Hunk, int]]]:
    """Return (hunk, line from 0) pairs: where hunks fit, and where those that do not should."""
    placed: list[tuple[Hunk, int]] = []
    unplaced: list[tuple[Hunk, int]] = []
    done = drift = shift = 0
    for hunk in hunks:
        start = _find(hunk, lines, done, first_try(hunk) - drift, shift)
        drift += hunk.new_count - hunk.old_count
        if start is None:
            unplaced.append((hunk, max(hunk.old_start - 1 + shift, 0)))
            continue
        shift = start - max(hunk.old_start - 1, 0)
        placed.append((hunk, start))
        done = start + len(hunk.old)
    return placed, unplaced


def merge_hunks(patch: str, file: FilePatch, content: bytes) -> tuple[bytes, list[PatchFailure]]:
    """Apply the hunks that fit, at their line or where it moved to; return the others."""
    lines = split_lines(content)
    placed, unplaced = _place_hunks(file.hunks, lines)
    result: list[bytes] = []
    done = 0
    for hunk, start in placed:
        result += lines[done:start]
        result += hunk.new
        done = start + len(hunk.old)
    result += lines[done:]
    failures = [_failure(patch, file, hunk, lines, at) for hunk, at in unplaced]
    return b"".join(result), failures


def _find(hunk: Hunk, lines: Sequence[bytes], low: int, first: int, shift: int) -> int | None:
    """Return where git applies the hunk: its whole old side, nearest its line, anchored."""
    starts = _occurrences(hunk.old, lines, low) if hunk.old else [max(first, low)]
    if hunk.old_start <= 1:
        starts = [start for start in starts if start == 0]
    if hunk.trailing == 0 or hunk.old_text[-1:] not in (b"\n", b""):
        starts = [start for start in starts if start + hunk.old_count == len(lines)]
    if first in starts:
        return first
    near = first + shift
    return min(starts, key=lambda start: abs(start - near), default=None)


def _occurrences(wanted: Sequence[bytes], lines: Sequence[bytes], low: int = 0) -> list[int]:
    if not wanted:
        return []
    first, size = wanted[0], len(wanted)
    want = list(wanted)
    return [
        at
        for at in range(low, len(lines) - size + 1)
        if lines[at] == first and list(lines[at : at + size]) == want
    ]


def _failure(
    patch: str, file: FilePatch, hunk: Hunk, lines: Sequence[bytes], at: int
) -> PatchFailure:
    found = tuple(lines[at : at + len(hunk.old)])
    moved, reason = _moved(hunk, lines, at)
    return PatchFailure(
        patch, show_path(file.path), reason, hunk.line, hunk.header, at + 1, hunk.old, found, moved
    )


def _moved(hunk: Hunk, lines: Sequence[bytes], near: int) -> tuple[int | None, str]:
    """Return the line number where the expected lines are now, and the reason to print."""
    if hunk.new != hunk.old and (there := _occurrences(hunk.new, lines)):
        at = min(there, key=lambda p: abs(p - near))
        return at + 1, f"already applied: the new lines are at line {at + 1}"
    if there := _occurrences(hunk.old, lines):
        at = min(there, key=lambda p: abs(p - near))
        return at + 1, f"the lines moved to line {at + 1}, where git does not look for them"
    core = hunk.old[hunk.leading : len(hunk.old) - hunk.trailing]
    if any(line.strip() for line in core) and (there := _occurrences(core, lines)):
        at = min(there, key=lambda p: abs(p - near - hunk.leading))
        where = f"line {at + 1}"
        return at + 1, f"the lines to change are at {where}, but the lines around them differ"
    best = _most_alike(hunk.old, lines)
    if best is None:
        return None, "the expected lines are nowhere in the file"
    at, same = best
    return at + 1, f"the nearest are at line {at + 1}: {same} of {len(hunk.old)} lines are the same"


def _most_alike(wanted: Sequence[bytes], lines: Sequence[bytes]) -> tuple[int, int] | None:
    """Return (start, equal lines) of the run that shares most lines, at least half of them."""
    indices: dict[bytes, list[int]] = {}
    for index, line in enumerate(wanted):
        if line.strip():
            indices.setdefault(line, []).append(index)
    votes = Counter(at - index for at, line in enumerate(lines) for index in indices.get(line, ()))
    if not votes:
        return None
    start, same = max(votes.items(), key=lambda item: (item[1], -item[0]))
    return (max(start, 0), same) if 2 * same >= sum(map(len, indices.values())) else None
