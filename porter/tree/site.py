"""Decide whether a tree can be made in the folder given to ``porter apply``.

If not, the error says what the folder is.
"""

from __future__ import annotations

from pathlib import Path

from porter.errors import BadInput
from porter.git.run import run_git
from porter.tree.tree import Tree, open_tree, shown


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
        from porter.terminal import listed, readable

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
                f" its own files; choose a folder outside, or ignore it there"
            )
        return
