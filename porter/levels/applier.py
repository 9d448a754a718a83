"""Apply a diff in process, without fuzz and without offset.

Accepts only unambiguous diffs: canonical (no oddities), of regular files, each path named once,
every hunk matching byte for byte at the line it names. There git's result is known, because git
tries that line first. Everything else raises :class:`NotStrict` and is left to git
(:mod:`porter.levels.gitapply`), so the two together equal ``git apply --index``.

Bump ``porter.levels.levels.APPLIER_VERSION`` when any result could change: it is part of a memo's
key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from porter.git.objects import MODE_EXEC, MODE_FILE, Entry, Oid, blob_id
from porter.git.treeedit import PathConflict, TreeEdit
from porter.series.diff import Diff, FilePatch, Hunk

ReadBlob = Callable[[Oid], "bytes | None"]
"""Returns a blob's content; None when no source covers it."""

_UNSAFE_PART = re.compile(rb"(?i:\.git|git~\d+)[ .]*|\.{0,2}")
_LF, _BLANK = b"\n "
_REGULAR = (MODE_FILE, MODE_EXEC)


class NotStrict(Exception):
    """The strict applier refuses this diff; ``path`` and ``hunk`` say where, if known."""

    def __init__(self, reason: str, path: bytes | None = None, hunk: Hunk | None = None) -> None:
        super().__init__(reason)
        self.path = path
        self.hunk = hunk


class Contradicted(NotStrict):
    """The diff contradicts the tree; no file content is needed to see that."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """A path after the patch. ``entry`` None: deleted. ``content`` None: deleted or claimed.

    ``claimed``: no source covers the file's old content, so the new id is taken from the diff's
    index line instead of computed; the old id was checked against the tree.
    """

    path: bytes
    entry: Entry | None
    content: bytes | None = None
    claimed: bool = False


def apply_strictly(diff: Diff, tree: TreeEdit, read: ReadBlob) -> list[FileChange]:
    """Apply ``diff`` to ``tree`` and return what changed, in the diff's order.

    Raises NotStrict, with the tree unchanged, for any diff that is not unambiguous.
    """
    if diff.doubtful:
        raise NotStrict(diff.doubtful[0].text)
    if not diff.files:
        raise NotStrict("no `diff --git` section")
    refuse_repeated_paths(diff.files)
    changes: list[FileChange] = []
    for file in diff.files:
        changes += change_of(file, tree, read)
    try:
        tree.change([(change.path, change.entry) for change in changes])
    except PathConflict as conflict:
        raise NotStrict("a file and a folder of the same name", conflict.args[0]) from None
    return changes


def refuse_repeated_paths(files: Sequence[FilePatch]) -> None:
    """Raise NotStrict for sections that share a path: git applies one on top of the other."""
    seen: set[bytes] = set()
    for file in files:
        for path in file.paths:
            if path in seen:
                raise NotStrict("two sections name the same file", path)
            seen.add(path)


def change_of(file: FilePatch, tree: TreeEdit, read: ReadBlob) -> list[FileChange]:
    """Return what one section does to ``tree``, which stays unchanged."""
    if file.binary is not None:
        raise NotStrict("a binary patch", file.path)
    for path in file.paths:
        if unsafe_path(path):
            raise NotStrict("an unsafe path", path)
    if file.new_path is not None and file.new_path != file.old_path:
        there = tree.get(file.new_path)
        if there is not None and not there.is_tree:
            raise Contradicted("a new file that exists already", file.new_path)
    base = None if file.old_path is None else _base(file, tree)
    mode = _new_mode(file, base)
    changes: list[FileChange] = []
    if file.old_path is not None and file.kind in ("delete", "rename"):
        changes.append(FileChange(file.old_path, None))
    old = b"" if base is None else read(base.oid)
    if old is None:
        assert base is not None
        # The deleted lines must be the whole file: its id decides, not its content.
        if file.kind == "delete" and blob_id(b"".join(h.old_text for h in file.hunks)) != base.oid:
            raise Contradicted("the file to delete has other lines than the patch", file.old_path)
        return changes + _claimed(file, base, mode)
    new = patched(file, old) if file.hunks else old
    if file.kind == "delete":
        if new:
            raise NotStrict("a deleted file with lines left", file.path)
        return changes
    assert file.new_path is not None
    return [*changes, FileChange(file.new_path, Entry(mode, blob_id(new)), new)]


def _base(file: FilePatch, tree: TreeEdit) -> Entry:
    assert file.old_path is not None
    entry = tree.get(file.old_path)
    if entry is None:
        raise Contradicted("the file is not there", file.old_path)
    if entry.mode not in _REGULAR:
        raise NotStrict("not a regular file", file.old_path)
    if file.old_mode is not None and file.old_mode != entry.mode:
        reason = f"mode {entry.mode:o}, the patch expects {file.old_mode:o}"
        raise Contradicted(reason, file.old_path)
    if file.old_id is not None and not entry.oid.startswith(file.old_id):
        reason = f"its content is {entry.oid[:12]}, the patch was made on {file.old_id[:12]}"
        raise Contradicted(reason, file.old_path)
    return entry


def _new_mode(file: FilePatch, base: Entry | None) -> int:
    mode = file.new_mode if file.new_mode is not None else base.mode if base else MODE_FILE
    if file.kind != "delete" and mode not in _REGULAR:
        raise NotStrict("not a regular file", file.path)
    return mode


def _claimed(file: FilePatch, base: Entry, mode: int) -> list[FileChange]:
    if file.kind == "delete":
        return []
    assert file.new_path is not None
    if not file.hunks:
        return [FileChange(file.new_path, Entry(mode, base.oid), None, claimed=True)]
    if file.old_id != base.oid or file.full_new_id is None:
        raise NotStrict("no source covers the file, and the index line is not full", file.path)
    return [FileChange(file.new_path, Entry(mode, file.full_new_id), None, claimed=True)]


def patched(file: FilePatch, old: bytes) -> bytes:
    """Return ``old`` with the hunks applied. Raises NotStrict for a hunk that does not fit."""
    result: list[bytes] = []
    done = line = 0  # how much of the old content is processed: bytes, lines
    drift = 0  # new line number minus old line number, so far
    for hunk in file.hunks:
        ahead = first_try(hunk) - drift - line
        start = _offset(old, done, ahead, hunk.old_text)
        if start is None or not anchored(hunk, old, start):
            raise NotStrict("the lines are not where the hunk says", file.path, hunk)
        result.append(old[done:start])
        result.append(hunk.new_text)
        done = start + len(hunk.old_text)
        line += ahead + hunk.old_count
        drift += hunk.new_count - hunk.old_count
        if hunk.new_text[-1:] not in (b"\n", b"") and done != len(old):
            raise NotStrict("a line without newline in the middle of the file", file.path, hunk)
    result.append(old[done:])
    return b"".join(result)


def first_try(hunk: Hunk) -> int:
    """Return the line (from 0) of the half-patched file where git looks for the hunk first."""
    return hunk.new_start - 1 if hunk.new_start else 0


def anchored(hunk: Hunk, old: bytes, start: int) -> bool:
    """Return whether git would try the hunk at byte ``start`` of ``old``.

    git ties a hunk that starts at line 1 to the beginning of the file and one without context
    after its last change to the end (apply.c, ``match_beginning`` and ``match_end``), and then
    looks nowhere else.
    """
    if hunk.old_start <= 1 and start != 0:
        return False
    # Only a hunk whose last line is context may end before the file does.
    return hunk.lines[-1][0] == _BLANK or start + len(hunk.old_text) == len(old)


def _offset(old: bytes, done: int, ahead: int, text: bytes) -> int | None:
    """Return the offset ``ahead`` lines after ``done`` if ``text`` stands there, else None.

    ``done`` is the beginning of a line. Searching for the text and counting the newlines before it
    is many times faster than splitting the file into lines.
    """
    if ahead < 0:
        return None
    if not text:
        return _line_offset(old, done, ahead)
    at = old.find(text, done)
    counted, lines = done, 0
    while at >= 0:
        lines += old.count(b"\n", counted, at)
        counted = at
        if lines == ahead and (at == done or old[at - 1] == _LF):
            return at
        if lines > ahead:
            return None
        at = old.find(text, at + 1)
    return None


def _line_offset(old: bytes, done: int, ahead: int) -> int | None:
    at = done
    for _ in range(ahead):
        at = old.find(b"\n", at) + 1
        if not at:
            return None
    return at


def writable_name(path: bytes) -> bool:
    """Return False for a path, or a part of one, that is too long for any file system."""
    return len(path) < 4096 and all(len(part) < 256 for part in path.split(b"/"))


def unsafe_path(path: bytes) -> bool:
    """Return whether git's own ``verify_path`` might refuse the path on some file system.

    Too strict on purpose: git decides about these paths, and ``porter lint`` refuses them.
    """
    if b"\0" in path or not writable_name(path):
        return True
    lowered = path.lower()
    # HFS+ ignores some code points, NTFS knows alternate streams: only `.git` look-alikes matter.
    strange = not path.isascii() or b"\\" in path or b":" in path
    if strange and (b".g" in lowered or b"git~" in lowered):
        return True
    return any(_UNSAFE_PART.fullmatch(part) for part in path.split(b"/"))
