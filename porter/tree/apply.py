"""``porter apply``: make or move a port's tree, and its companions' trees beside it."""

from __future__ import annotations

import re
import shlex
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from porter.errors import BadInput
from porter.git.run import run_git
from porter.terminal import listed, readable
from porter.tree.locked import hold_tree
from porter.tree.move import Moved, move
from porter.tree.populate import Built, build, make_tree
from porter.tree.tree import (
    Tree,
    TreeLevel,
    open_tree,
    pick_level,
    position,
    series_changed,
    shown,
)

if TYPE_CHECKING:
    from porter.upstream.gitfetch import Progress


@dataclass(frozen=True)
class Applied:
    """A tree at the requested level: newly ``made``, or ``moved`` there."""

    tree: Tree
    level: TreeLevel
    made: bool
    moved: Moved | None = None
    companion: bool = False


def apply_port(
    root: Path,
    port: str,
    folder: Path | None,
    *,
    level: str | None = None,
    companions: bool = True,
    keep: bool = False,
    progress: Progress | None = None,
) -> list[Applied]:
    """Make (or move) the tree of ``port`` at ``folder``, then its companions' trees beside it.

    All folders are checked, and everything is fetched and built, before any folder is written.
    Without ``level`` a tree that is at its last level already stays as it is, and only what is
    missing beside it is made. Raises CheckFailed when a patch fails and the level is not below it.
    """
    from porter.upstream.pins import load_pins

    pins = load_pins(root)
    pin = pins.port(port)
    folder = folder.expanduser().resolve() if folder is not None else default_folder(root, port)
    existing = tree_at(folder, port)
    beside: dict[str, Tree | None] = {}
    for name in pin.companions if companions else ():
        try:
            beside[name] = tree_at(folder.parent / name, pins.port(name).name)
        except BadInput as error:
            raise BadInput(f"{error} ({name} belongs beside {port}; --alone omits it)") from None
    with ExitStack() as opened:
        own = existing or _plan(root, port, level, progress, opened)
        missing = {
            name: _plan(root, name, None, progress, opened)
            for name, tree in beside.items()
            if tree is None
        }
        done = [_move(own, level, keep) if isinstance(own, Tree) else own.make(folder)]
        for name, tree in beside.items():
            if tree is None:
                made = missing[name].make(folder.parent / name)
                done.append(replace(made, companion=True))
            elif (at := position(tree).level) is not None:
                done.append(Applied(tree, at, False, companion=True))
    return done


@dataclass(frozen=True)
class _Planned:
    """A tree to make: its port, built, and the level."""

    built: Built
    level: TreeLevel
    progress: Progress | None

    def make(self, folder: Path) -> Applied:
        folder.parent.mkdir(parents=True, exist_ok=True)
        tree = make_tree(self.built, folder, self.level, self.progress)
        return Applied(tree, self.level, made=True)


def _plan(
    root: Path, port: str, level: str | None, progress: Progress | None, opened: ExitStack
) -> _Planned:
    """Build ``port``, whose upstream ``opened`` closes, and find the level (None: the last)."""
    built = build(root, port, progress)
    opened.enter_context(built.upstream)
    number = (built.default() if level is None else built.find(level)).number
    return _Planned(built, built.tree_levels()[number], progress)


def _move(tree: Tree, level: str | None, keep: bool) -> Applied:
    what = f"apply {tree.record.port}"
    if level is None:
        return _unmoved(tree)
    with hold_tree(tree.folder, what) as held:
        target = pick_level(held.tree, level)
        return Applied(
            held.tree, target, False, move(held.tree, held.lock, target, what, keep=keep)
        )


def _unmoved(tree: Tree) -> Applied:
    """Return a tree that is where ``porter apply`` without a level takes one. Raises BadInput."""
    here, record = position(tree), tree.record
    last = [level for level in record.levels if not level.off][-1]
    if here.commit == last.commit and record.broken is None and not series_changed(tree):
        return Applied(tree, last, False, Moved(here, last))
    at = f"at level {here.level}" if here.level else f"at {here.commit[:8]}"
    raise BadInput(
        f"{shown(tree.folder)}: already a tree of {record.port}, {at};"
        " `porter goto LEVEL` or --level moves it"
    )


def default_folder(root: Path, port: str) -> Path:
    """Return the folder of a tree when the user names none: ``trees/PORT`` in the project."""
    return root / "trees" / port


def tree_at(folder: Path, port: str) -> Tree | None:
    """Return the tree of ``port`` at ``folder``, or None if one can be made there.

    An incomplete tree counts as none. Raises BadInput when something else is there.
    """
    where = shown(folder)
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{where}: a file; expected a new or an empty folder")
    tree = open_tree(folder)
    if tree is not None:
        if tree.record.port != port:
            raise BadInput(
                f"{where}: a tree of {tree.record.port}; choose another folder for {port}"
            )
        return tree if tree.record.complete else None
    if (folder / ".git").exists() and not _only_begun(folder):
        raise BadInput(
            f"{where}: a git repository that porter did not make; choose a new folder (a tree"
            " borrows the upstream's objects, it needs no clone)"
        )
    _refuse_contents(folder)
    _refuse_surroundings(folder)
    return None


def _only_begun(folder: Path) -> bool:
    """Return whether ``folder`` holds only what a ``porter apply`` killed early leaves."""
    git_dir = folder / ".git"
    if not git_dir.is_dir() or {p.name for p in git_dir.iterdir()} - {"porter"}:
        return False
    state = git_dir / "porter"
    return not state.exists() or all(
        p.name == "lock" or p.name.startswith(".tree.json.") for p in state.iterdir()
    )


def _refuse_contents(folder: Path) -> None:
    if not folder.is_dir():
        return
    names = sorted(p.name for p in folder.iterdir() if p.name != ".git")
    if names:
        raise BadInput(
            f"{shown(folder)}: not empty ({listed(map(readable, names), 3)}) and not a tree of"
            " porter's; choose a new folder"
        )


def _refuse_surroundings(folder: Path) -> None:
    """Raise BadInput inside another work tree, unless that one ignores the folder."""
    absolute = folder.absolute()
    for parent in absolute.parents:
        if not (parent / ".git").exists():
            continue
        if (around := open_tree(parent)) is not None:
            raise BadInput(
                f"{shown(folder)}: inside {shown(parent)}, a tree of {around.record.port};"
                " choose a folder outside"
            )
        inside = str(absolute.relative_to(parent))
        ignored = run_git(
            [f"--git-dir={parent / '.git'}", f"--work-tree={parent}", "check-ignore", "-q", inside],
            cwd=parent,
            check=False,
        )
        if ignored.status != 0:
            raise BadInput(
                f"{shown(folder)}: inside the git repository {parent}, which would see the tree as"
                f" its own files; {_ignoring(parent, inside)} makes it ignore the tree"
            )
        return


def _ignoring(parent: Path, inside: str) -> str:
    """Return the command that makes the repository ``parent`` ignore a path in it."""
    pattern = re.sub(r"([\\*?\[]| $)", r"\\\1", f"/{inside}")
    return f"`echo {shlex.quote(pattern)} >> {shlex.quote(str(shown(parent / '.gitignore')))}`"
