"""Applying a diff in process, without fuzz and without offset.

Takes only what is beyond doubt: a canonical diff (no oddities) of regular files, each path named
once, every hunk matching to the byte at the very line it names. For those git's answer is known,
because the line a hunk names is the first place git tries. Everything else raises
:class:`NotStrict` and is git's to decide (:mod:`porter.gitapply`), so the two together equal ``git
apply --index``.

Bump ``porter.memo.APPLIER_VERSION`` when any result could change: it is part of a memo's key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from porter.diff import Diff, FilePatch, Hunk
from porter.objects import MODE_EXEC, MODE_FILE, Entry, Oid, blob_id
from porter.treeedit import PathConflict, TreeEdit

ReadBlob = Callable[[Oid], "bytes | None"]
"""Returns a blob's content; None when no source covers it."""

_UNSAFE_PART = re.compile(rb"(?i:\.git|git~\d+)[ .]*|\.{0,2}")
_REGULAR = (MODE_FILE, MODE_EXEC)


class NotStrict(Exception):
    """The strict applier does not take this diff; ``path`` and ``hunk`` say where, if anywhere."""

    def __init__(self, reason: str, path: bytes | None = None, hunk: Hunk | None = None) -> None:
        super().__init__(reason)
        self.path = path
        self.hunk = hunk


@dataclass(frozen=True, slots=True)
class Change:
    """A path after the patch. ``entry`` None: gone. ``content`` None: gone, or claimed (see below).

    ``claimed``: no source covers the file's old content, so the new id is the one that the diff's
    index line states, not one computed; the old id was checked against the tree.
    """

    path: bytes
    entry: Entry | None
    content: bytes | None = None
    claimed: bool = False


def apply_strictly(diff: Diff, tree: TreeEdit, read: ReadBlob) -> list[Change]:
    """Apply ``diff`` to ``tree`` and return what changed, in the diff's order.

    Raises NotStrict, with the tree unchanged, for whatever is not beyond doubt.
    """
    if diff.doubtful:
        raise NotStrict(diff.doubtful[0].text)
    if not diff.files:
        raise NotStrict("no `diff --git` section")
    refuse_repeated_paths(diff.files)
    changes: list[Change] = []
    for file in diff.files:
        changes += change_of(file, tree, read)
    try:
        tree.change([(change.path, change.entry) for change in changes])
    except PathConflict as conflict:
        raise NotStrict("a file and a folder of the same name", conflict.args[0]) from None
    return changes


def refuse_repeated_paths(files: Sequence[FilePatch]) -> None:
    """git applies sections that share a path one on top of the other; that is left to git."""
    seen: set[bytes] = set()
    for file in files:
        for path in file.paths:
            if path in seen:
                raise NotStrict("two sections name the same file", path)
            seen.add(path)


def change_of(file: FilePatch, tree: TreeEdit, read: ReadBlob) -> list[Change]:
    """What one section does to ``tree`` (which is left as it is)."""
    if file.binary is not None:
        raise NotStrict("a binary patch", file.path)
    for path in file.paths:
        if unsafe_path(path):
            raise NotStrict("an unsafe path", path)
    if file.new_path is not None and file.new_path != file.old_path:
        _refuse_existing(file.new_path, tree)
    base = None if file.old_path is None else _base(file, tree)
    mode = _new_mode(file, base)
    changes: list[Change] = []
    if file.old_path is not None and file.kind in ("delete", "rename"):
        changes.append(Change(file.old_path, None))
    old = b"" if base is None else read(base.oid)
    if old is None:
        assert base is not None
        return changes + _claimed(file, base, mode)
    new = patched(file, old)
    if file.kind == "delete":
        if new:
            raise NotStrict("a deleted file with lines left", file.path)
        return changes
    assert file.new_path is not None
    return [*changes, Change(file.new_path, Entry(mode, blob_id(new)), new)]


def _refuse_existing(path: bytes, tree: TreeEdit) -> None:
    there = tree.get(path)
    if there is not None and not there.is_tree:
        raise NotStrict("a new file that exists already", path)


def _base(file: FilePatch, tree: TreeEdit) -> Entry:
    assert file.old_path is not None
    entry = tree.get(file.old_path)
    if entry is None:
        raise NotStrict("the file is not there", file.old_path)
    if entry.mode not in _REGULAR:
        raise NotStrict("not a regular file", file.old_path)
    if file.old_mode is not None and file.old_mode != entry.mode:
        raise NotStrict(f"mode {entry.mode:o}, the patch expects {file.old_mode:o}", file.old_path)
    if file.old_id is not None and not entry.oid.startswith(file.old_id):
        raise NotStrict("other content than the patch was made on", file.old_path)
    return entry


def _new_mode(file: FilePatch, base: Entry | None) -> int:
    mode = file.new_mode if file.new_mode is not None else base.mode if base else MODE_FILE
    if file.kind != "delete" and mode not in _REGULAR:
        raise NotStrict("not a regular file", file.path)
    return mode


def _claimed(file: FilePatch, base: Entry, mode: int) -> list[Change]:
    if file.kind == "delete":
        return []
    assert file.new_path is not None
    if not file.hunks:
        return [Change(file.new_path, Entry(mode, base.oid), None, claimed=True)]
    if file.old_id != base.oid or file.full_new_id is None:
        raise NotStrict("no source covers the file, and the index line is not full", file.path)
    return [Change(file.new_path, Entry(mode, file.full_new_id), None, claimed=True)]


def patched(file: FilePatch, old: bytes) -> bytes:
    """Return ``old`` with the hunks applied. Raises NotStrict for a hunk that does not fit."""
    if not file.hunks:
        return old
    lines = split_lines(old)
    result: list[bytes] = []
    done = 0
    drift = 0  # new line number minus old line number, so far
    for hunk in file.hunks:
        start = place(hunk, len(lines), drift)
        if start is None or start < done or tuple(lines[start : start + len(hunk.old)]) != hunk.old:
            raise NotStrict("the lines are not where the hunk says", file.path, hunk)
        result += lines[done:start]
        result += hunk.new
        done = start + len(hunk.old)
        drift += len(hunk.new) - len(hunk.old)
        if hunk.new and hunk.new[-1][-1:] != b"\n" and done != len(lines):
            raise NotStrict("a line without newline in the middle of the file", file.path, hunk)
    result += lines[done:]
    return b"".join(result)


def place(hunk: Hunk, count: int, drift: int) -> int | None:
    """The one line (from 0) of the old file at which git tries ``hunk`` first and finds it unmoved.

    ``count`` is the number of lines of the old file. None when git would look for it elsewhere:
    git anchors a hunk that starts at line 1 to the beginning of the file, and one without context
    behind its last change to the end (apply.c, ``match_beginning`` and ``match_end``).
    """
    start = (hunk.new_start - 1 if hunk.new_start else 0) - drift
    at_beginning = hunk.old_start <= 1
    at_end = hunk.trailing == 0
    if at_beginning and start != 0:
        return None
    if at_end and start + len(hunk.old) != count:
        return None
    if hunk.old and hunk.old[-1][-1:] != b"\n" and start + len(hunk.old) != count:
        return None
    return start if 0 <= start <= count - len(hunk.old) else None


def split_lines(content: bytes) -> list[bytes]:
    """Lines of a file, ended by LF only, each with its newline; the last may lack it."""
    lines = [line + b"\n" for line in content.split(b"\n")]
    last = lines.pop()[:-1]
    if last:
        lines.append(last)
    return lines


def unsafe_path(path: bytes) -> bool:
    """True for a path that git's own ``verify_path`` might refuse on some file system.

    Over-careful on purpose: git decides about these, and ``porter lint`` refuses them.
    """
    if b"\0" in path:
        return True
    if not path.isascii() or b"\\" in path or b":" in path:
        # HFS+ ignores some code points, NTFS knows alternate streams: only `.git` look-alikes
        # matter.
        return b".g" in path.lower() or b"git~" in path.lower()
    return any(_UNSAFE_PART.fullmatch(part) for part in path.split(b"/"))
