"""The journal that makes a move safe against ``kill -9``, and the recovery from it.

git moves a work tree file by file, then replaces the index, then ``HEAD``. Killed in between, it
leaves a mixture and an ``index.lock`` that stops every later git. So a move writes ``move.json``
first and removes it last. Whoever finds one while holding the tree's lock knows that the move's git
has ended (it holds the lock too) and calls :func:`settle`:

- If the index is already the new one, every file was written before it: only ``HEAD`` is missing.
- Otherwise the files are restored. Every file that a move writes was clean before it, so the disk
  can only hold its old bytes, nothing, its new bytes or a beginning of them. Anything else is an
  edit made after the crash: it stays, and its path is reported.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from porter.atomic import read_json, write_atomic
from porter.errors import PorterError
from porter.git.objects import MODE_EXEC, MODE_LINK, Entry, Oid
from porter.git.objects import oid as checked_oid
from porter.tree.checkout_rules import JOURNAL
from porter.tree.submodules import follow, relinked
from porter.tree.tree import Tree, shown

_LOCKS = ("index.lock", "HEAD.lock")


@dataclass(frozen=True, slots=True)
class Journal:
    """A move in progress: the trees of the files (``work``) and the index before and after."""

    what: str
    head_from: str | None
    head_to: str
    work_from: str
    work_to: str
    index_from: str
    index_to: str


@dataclass(frozen=True, slots=True)
class Settled:
    """How an interrupted move was settled, and the files that were edited after it."""

    what: str
    finished: bool
    kept: tuple[str, ...] = ()

    def __str__(self) -> str:
        end = "finished" if self.finished else "undone"
        kept = f"; edits made since then are kept in {', '.join(self.kept)}" if self.kept else ""
        return f"an interrupted `porter {self.what}` was {end}{kept}"


def journal_path(tree: Tree) -> Path:
    return tree.state_dir / JOURNAL


def write_journal(tree: Tree, fields: Mapping[str, str | None]) -> None:
    """Announce a move by the fields of its :class:`Journal`. The tree's lock must be held."""
    write_atomic(journal_path(tree), json.dumps(fields).encode())


def read_journal(tree: Tree) -> Journal | None:
    """Return the journal of an unfinished move, if any."""
    try:
        journal = Journal(**read_json(journal_path(tree)))
        for name, value in asdict(journal).items():
            if name != "what" and not (name == "head_from" and value is None):
                checked_oid(value)
        return journal
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise PorterError(
            f"{shown(journal_path(tree))}: damaged ({error}); inspect the tree with `git status`,"
            " then delete this file"
        ) from None


def end_move(tree: Tree) -> None:
    """Delete the journal: the tree is at one level."""
    journal_path(tree).unlink(missing_ok=True)


def merge_index(tree: Tree) -> Path:
    """Return the path of an index beside the user's, which ``--keep`` merges in."""
    return tree.state_dir / "index"


@dataclass(frozen=True, slots=True)
class Files:
    """The tracked files of a work tree as they are, and its index, as trees."""

    work: Oid
    index: Oid


def stage_files(tree: Tree, *, leave_out: Iterable[str] = (), lock: int | None = None) -> Files:
    """Copy the index to :func:`merge_index` and stage the edits of tracked files there.

    Return the index and the files as trees; the user's index stays. ``leave_out`` are paths that
    stay as the index has them. Whoever calls this calls :func:`drop_merge_index` in the end.
    """
    index = merge_index(tree)
    shutil.copy2(tree.git_dir / "index", index)  # its time too: git compares files by it
    staged = tree.git("write-tree", "--missing-ok", index=index, lock=lock).text
    others = (f":(exclude,top){path}" for path in leave_out)
    tree.git("add", "--update", "--", ":/", *others, index=index, lock=lock)
    work = tree.git("write-tree", "--missing-ok", index=index, lock=lock).text
    return Files(Oid(work), Oid(staged))


def drop_merge_index(tree: Tree) -> None:
    """Delete what a killed command left of its index, and of files that it was writing.

    The tree's lock must be held.
    """
    index = merge_index(tree)
    for path in (index, index.with_name("index.lock"), *tree.state_dir.glob(".*.new")):
        path.unlink(missing_ok=True)


def changes(tree: Tree, old: str, new: str) -> dict[str, tuple[Entry | None, Entry | None]]:
    """Return what differs between two trees: path -> (old entry, new entry)."""
    rows = tree.git(
        "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", old, new
    ).fields()
    found: dict[str, tuple[Entry | None, Entry | None]] = {}
    for info, path in zip(rows[::2], rows[1::2], strict=True):
        old_mode, new_mode, old_oid, new_oid, _ = info.lstrip(":").split(" ")
        found[path] = (
            Entry(int(old_mode, 8), Oid(old_oid)) if int(old_mode, 8) else None,
            Entry(int(new_mode, 8), Oid(new_oid)) if int(new_mode, 8) else None,
        )
    return found


def _index_entries(tree: Tree) -> tuple[dict[str, Entry], set[str]]:
    """Return (path -> entry of the index, paths outside the sparse checkout)."""
    entries, skipped = {}, set()
    for row in tree.git("ls-files", "-s", "-t", "-z").fields():
        info, _, path = row.partition("\t")
        tag, mode, oid, _stage = info.split(" ")
        entries[path] = Entry(int(mode, 8), Oid(oid))
        if tag == "S":
            skipped.add(path)
    return entries, skipped


def _blobs(tree: Tree, oids: Iterable[str]) -> dict[str, bytes]:
    """Return those of the blobs that exist."""
    wanted = sorted(set(oids))
    answer = tree.git("cat-file", "--batch", stdin="".join(f"{o}\n" for o in wanted).encode())
    found, at = {}, 0
    for oid in wanted:
        end = answer.out.index(b"\n", at)
        words = answer.out[at:end].split(b" ")
        at = end + 1
        if len(words) == 3:
            size = int(words[2])
            found[oid] = answer.out[at : at + size]
            at += size + 1
    return found


def _on_disk(path: Path) -> tuple[int, bytes] | None:
    """Return (git file mode, content) of the file or link at ``path``; None without one."""
    try:
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            return MODE_LINK, os.fsencode(path.readlink())
        if stat.S_ISREG(info.st_mode):
            return (MODE_EXEC if info.st_mode & 0o100 else 0o100644), path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        pass
    return None


def _same(content: bytes, blob: bytes) -> bool:
    return content == blob or content.replace(b"\r\n", b"\n") == blob


def _begins(content: bytes, blob: bytes) -> bool:
    return blob.startswith((content, content.replace(b"\r\n", b"\n")))


def _back(tree: Tree, journal: Journal, lock: int, untouched: tuple[str, ...]) -> tuple[str, ...]:
    """Restore the files of the move; return the edited paths, which stay as they are.

    In folders that are still ``untouched`` submodules nothing is restored.
    """
    moved = changes(tree, journal.work_from, journal.work_to)
    _, skipped = _index_entries(tree)
    moved = {path: pair for path, pair in moved.items() if path not in skipped}
    there = [pair for path, pair in moved.items() if os.path.lexists(tree.folder / path)]
    # No others: without an index even files that are in no store would be asked for.
    blobs = _blobs(tree, (e.oid for pair in there for e in pair if e and e.is_blob))
    restore: dict[str, str | None] = {}  # path -> the file or link in place of a parent folder
    remove: list[str] = []
    kept: list[str] = []
    for path, (old, new) in moved.items():
        old, new = (entry if entry and entry.is_blob else None for entry in (old, new))
        if old is new is None or path.startswith(untouched):
            continue
        in_way = _parent_in_way(tree.folder, path)
        found = None if in_way else _on_disk(tree.folder / path)
        if found is None:
            if old:
                restore[path] = in_way
            continue
        mode, content = found
        if old and mode == old.mode and _same(content, blobs.get(old.oid, b"")):
            continue
        ours = (new and _begins(content, blobs.get(new.oid, b""))) or (
            old and _same(content, blobs.get(old.oid, b""))
        )
        if ours and old:
            restore[path] = None
        else:
            (remove if ours else kept).append(path)
    for path, in_way in [*restore.items()]:
        if in_way is not None and in_way not in remove:
            del restore[path]
            kept.append(in_way)
    _remove(tree.folder, remove)
    if restore:
        tree.git(
            "--literal-pathspecs",
            "restore",
            f"--source={journal.work_from}",
            "--worktree",
            "--ignore-skip-worktree-bits",
            "--pathspec-from-file=-",
            "--pathspec-file-nul",
            stdin="\0".join(restore).encode("utf-8", "surrogateescape"),
            lock=lock,
        )
    return tuple(dict.fromkeys(kept))


def _parent_in_way(folder: Path, path: str) -> str | None:
    """Return the parent of ``path`` that is a file or a link instead of a folder, if any."""
    for parent in reversed(Path(path).parents):
        standing = folder / parent
        if standing != folder and (standing.is_symlink() or standing.is_file()):
            return str(parent)
    return None


def _remove(folder: Path, paths: Iterable[str]) -> None:
    """Delete files, and the folders that become empty."""
    for path in paths:
        target = folder / path
        target.unlink(missing_ok=True)
        for parent in target.parents:
            if parent == folder:
                break
            try:
                parent.rmdir()
            except OSError:
                break


def settle(tree: Tree, lock: int) -> Settled | None:
    """Finish or undo an interrupted move; return how, or None without one.

    The tree's lock must be held. Raises PorterError (and can be called again) when restoring fails
    too, for instance on a full disk.
    """
    drop_merge_index(tree)
    journal = read_journal(tree)
    if journal is None:
        return None
    for name in _LOCKS:
        (tree.git_dir / name).unlink(missing_ok=True)
    head = tree.git("rev-parse", "--verify", "--quiet", "HEAD", check=False).text or None
    finished = head == journal.head_to
    kept: tuple[str, ...] = ()
    submodules = relinked(tree, journal.work_from, journal.work_to)
    if head == journal.head_from and not finished:
        target = changes(tree, journal.index_from, journal.index_to)
        index = _index_entries(tree)[0]
        finished = all(index.get(path) == new for path, (_, new) in target.items())
        if finished:
            tree.git("update-ref", "--no-deref", "HEAD", journal.head_to, lock=lock)
        else:
            there = (each.submodule for each in submodules if each.submodule.checked_out)
            kept = _back(tree, journal, lock, tuple(f"{sub.path}/" for sub in there))
    follow(submodules, lock, back=not finished)
    if (tree.git_dir / "index").exists():
        tree.git("update-index", "-q", "--refresh", check=False, lock=lock)
    end_move(tree)
    return Settled(journal.what, finished, kept)
