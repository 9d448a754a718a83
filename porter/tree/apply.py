"""``porter apply``: make or move a port's tree, and its companions' trees beside it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from porter.errors import BadInput
from porter.git.run import run_git
from porter.levels.level_name import find_level
from porter.terminal import listed, readable
from porter.tree.locked import hold_tree
from porter.tree.move import Moved, move
from porter.tree.populate import Built, build, make_tree
from porter.tree.tree import Tree, TreeLevel, open_tree, pick_level, position, shown

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
    """
    from porter.upstream.pins import load_pins

    pins = load_pins(root)
    pin = pins.port(port)
    folder = folder.expanduser().resolve() if folder is not None else default_folder(root, port)
    others = [pins.port(name) for name in pin.companions] if companions else []
    existing = tree_at(folder, port)
    beside = [(other.name, folder.parent / other.name) for other in others]
    for name, companion_folder in beside:
        try:
            tree_at(companion_folder, name)
        except BadInput as error:
            raise BadInput(f"{error} ({name} belongs beside {port}; --alone omits it)") from None
    if existing is not None:
        first = _move(existing, level, keep)
    else:
        first = _make(build(root, port, progress), folder, level, progress)
    done = [first]
    for name, companion_folder in beside:
        tree = tree_at(companion_folder, name)
        if tree is None:
            made = _make(build(root, name, progress), companion_folder, None, progress)
            done.append(Applied(made.tree, made.level, True, companion=True))
        elif (at := position(tree).level) is not None:
            done.append(Applied(tree, at, False, companion=True))
    return done


def _make(built: Built, folder: Path, level: str | None, progress: Progress | None) -> Applied:
    with built.upstream:
        levels = built.tree_levels()
        if level is not None:
            target = find_level(levels, level)
        else:
            target = [each for each in levels if not each.off][-1]
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Applied(make_tree(built, folder, target, progress), target, made=True)


def _move(tree: Tree, level: str | None, keep: bool) -> Applied:
    what = f"apply {tree.record.port}"
    if level is None:
        here = position(tree)
        at = f"at level {here.level}" if here.level else f"at {here.commit[:8]}"
        raise BadInput(
            f"{shown(tree.folder)}: already a tree of {tree.record.port}, {at};"
            " `porter goto LEVEL` or --level moves it"
        )
    with hold_tree(tree.folder, what) as held:
        target = pick_level(held.tree, level)
        return Applied(
            held.tree, target, False, move(held.tree, held.lock, target, what, keep=keep)
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
