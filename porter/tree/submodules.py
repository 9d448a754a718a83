"""The submodules of a tree: checked out at the levels whose tree names their commit, only there.

A submodule's repository, ``.git/modules/PATH``, is made with the tree and stays. Where a level has
files of its own in the submodule's place, or nothing, a move removes the checkout, and a move back
makes it again; git alone would do neither. The journal of the move covers both: :func:`follow`
finishes what a killed move has begun. Ignored files stay where they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from porter.atomic import write_atomic
from porter.errors import LocalEdits
from porter.git.arguments import tree_arguments
from porter.git.objects import Oid
from porter.git.run import Answer, run_git
from porter.tree.checkout_rules import EMPTY_TREE
from porter.tree.tree import Tree, TreeLevel, listed_paths, shown
from porter.upstream.registry import register

_STALE = ("index.lock", "HEAD.lock")
PINNED = "refs/porter/pin"
"""Ref of a submodule's repository: the pin that it was made for, with all its wanted files."""


@dataclass(frozen=True, slots=True)
class Submodule:
    """A submodule of a tree whose repository exists. ``path`` is its place in the tree."""

    tree: Tree
    path: str

    @property
    def folder(self) -> Path:
        return self.tree.folder / self.path

    @property
    def git_dir(self) -> Path:
        return self.tree.git_dir / "modules" / self.path

    @property
    def checked_out(self) -> bool:
        return (self.folder / ".git").is_file()

    def git(
        self, *args: str, stdin: bytes | None = None, check: bool = True, lock: int | None = None
    ) -> Answer:
        """Run git on the submodule; git inherits the descriptor ``lock``."""
        return run_git(
            [*tree_arguments(str(self.folder), str(self.git_dir)), *args],
            cwd=self.tree.folder,
            stdin=stdin,
            check=check,
            keep_open=() if lock is None else (lock,),
        )

    def has(self, commit: str) -> bool:
        """Return whether the repository holds ``commit``."""
        return self.git("cat-file", "-e", f"{commit}^{{tree}}", check=False).status == 0

    def pinned(self) -> str | None:
        """Return the commit that the repository was made for, None without a repository."""
        if not (self.git_dir / "HEAD").exists():
            return None
        return self.git("rev-parse", "--verify", "--quiet", PINNED, check=False).text or None

    def files(self, commit: Oid) -> list[str]:
        """Return the paths of the commit's files, as paths of the tree."""
        rows = self.git("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit).fields()
        return [f"{self.path}/{row}" for row in rows]


@dataclass(frozen=True, slots=True)
class Relinked:
    """A submodule that two levels do not have at one commit; None where a level has none there."""

    submodule: Submodule
    old: Oid | None
    new: Oid | None


def links(tree: Tree, commit: str) -> dict[str, Oid]:
    """Return the tree's own submodules that ``commit`` has, and the commit it names of each."""
    if not tree.record.submodules:
        return {}
    paths = tuple(tree.record.submodules)
    found = {}
    for row in tree.git("ls-tree", "-z", "--full-tree", commit, "--", *paths).fields():
        info, _, path = row.partition("\t")
        _mode, kind, oid = info.split(" ")
        if kind == "commit":
            found[path] = Oid(oid)
    return found


def relinked(tree: Tree, start: str, target: str) -> tuple[Relinked, ...]:
    """Return the submodules whose checkout a move from ``start`` to ``target`` changes."""
    old, new = links(tree, start), links(tree, target)
    each = (Relinked(Submodule(tree, path), old.get(path), new.get(path)) for path in old | new)
    return tuple(
        one for one in each if one.old != one.new and (one.submodule.git_dir / "HEAD").exists()
    )


def refuse_edited(changed: Iterable[Relinked], target: TreeLevel) -> None:
    """Raise LocalEdits if the move would remove a checkout with edits or commits of the user's."""
    for each in changed:
        sub = each.submodule
        if not sub.checked_out:
            continue
        where = shown(sub.folder)
        form = ("--no-optional-locks", "status", "--porcelain=v1", "-z", "--no-renames")
        rows = sub.git(*form, "--untracked-files=normal", "--ignore-submodules=none").fields()
        if rows:
            raise LocalEdits(
                f"{where}: local edits in {listed_paths(row[3:] for row in rows)} of this"
                f" submodule, which level {target} does not have; commit them to a branch of the"
                " submodule or undo them first"
            )
        head = sub.git("rev-parse", "--verify", "--quiet", "HEAD", check=False).text
        if head != each.old:
            raise LocalEdits(
                f"{where}: this submodule is at commit {head[:10]}, and level {target} does not"
                f" have it; keep the commit with `git branch NAME`, then"
                f" `git checkout --detach {(each.old or '')[:10]}` there"
            )


def leave(changed: Iterable[Relinked], lock: int) -> None:
    """Remove the checkouts that end with the move. Raises PorterError when git finds edits."""
    for each in changed:
        sub = each.submodule
        if each.old is None or not sub.checked_out:
            continue
        sub.git("read-tree", "-m", "-u", each.old, EMPTY_TREE, lock=lock)
        (sub.folder / ".git").unlink()
        try:
            sub.folder.rmdir()
        except OSError:
            pass  # ignored files stay


def follow(changed: Iterable[Relinked], lock: int, *, back: bool = False) -> None:
    """Check out the submodules that begin with the move, or (``back``) those that it removed.

    A submodule whose commit its repository lacks stays an empty folder, as git itself leaves it.
    """
    for each in changed:
        commit = each.old if back else each.new
        sub = each.submodule
        in_way = sub.folder.is_symlink() or sub.folder.is_file()
        if commit is not None and not in_way and sub.has(commit):
            enter(sub, commit, lock)


Pairs = Mapping[str, tuple[object | None, object | None]]
"""Path -> what stands there before and after a move, None for nothing."""


def on_disk(between: Pairs, changed: Iterable[Relinked]) -> Pairs:
    """Return what a move changes in the folder: a submodule's files in place of its link."""
    found = dict(between)
    for each in changed:
        sub, path = each.submodule, each.submodule.path
        old, new = found.pop(path, (None, None))
        before, after = (None if each.old else old), (None if each.new else new)
        if before or after:
            found[path] = before, after
        if each.old and sub.checked_out:
            for file in (f"{path}/.git", *sub.files(each.old)):
                found[file] = each.old, found.get(file, (None, None))[1]
        if each.new and sub.has(each.new):
            for file in sub.files(each.new):
                found[file] = found.get(file, (None, None))[0], each.new
    return found


def enter(sub: Submodule, commit: Oid, lock: int) -> tuple[str, ...]:
    """Check a submodule out at ``commit``; also finish a checkout that was killed.

    Returns the files with another content, which stay as they are: porter did not write them.
    """
    sub.folder.mkdir(parents=True, exist_ok=True)
    for name in _STALE:
        (sub.git_dir / name).unlink(missing_ok=True)
    register("trees", sub.folder)
    gitdir = f"gitdir: {os.path.relpath(sub.git_dir, sub.folder)}\n"
    write_atomic(sub.folder / ".git", gitdir.encode())
    sub.git("read-tree", "--reset", commit, lock=lock)
    sub.git("read-tree", "-m", "-u", commit, lock=lock)  # writes nothing, marks the absent files
    sub.git("update-ref", "--no-deref", "HEAD", commit, lock=lock)
    _write(sub, sub.git("ls-files", "--deleted", "-z").fields(), lock)
    differing = _differing(sub)
    begun = [path for path in differing if _is_begun(sub, commit, path)]
    if begun:
        _write(sub, begun, lock)
        differing = _differing(sub)
    return tuple(f"{sub.path}/{path}" for path in differing)


def _differing(sub: Submodule) -> list[str]:
    sub.git("update-index", "-q", "--refresh", check=False)
    return sub.git("diff-files", "--name-only", "-z", "--ignore-submodules").fields()


def _write(sub: Submodule, paths: Iterable[str], lock: int) -> None:
    """Write files of the index into the folder."""
    if paths := list(paths):
        names = os.fsencode("".join(f"{path}\0" for path in paths))
        sub.git("checkout-index", "--force", "-z", "--stdin", stdin=names, lock=lock)


def _is_begun(sub: Submodule, commit: Oid, path: str) -> bool:
    """Return whether the file is a beginning of the commit's, as a killed git leaves one."""
    try:
        content = (sub.folder / path).read_bytes()
    except OSError:
        return False
    return sub.git("cat-file", "blob", f"{commit}:{path}").out.startswith(content)
