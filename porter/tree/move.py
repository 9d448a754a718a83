"""Move a tree to another level without losing an edit or leaving a mixture after a crash.

The move itself is one ``git checkout --detach``: it compares indexes, rewrites only the files that
differ, keeps edits of other files and refuses before touching anything. This module adds that
untracked files, even ignored ones, are never overwritten (git overwrites ignored files by default,
and in a sparse checkout all untracked ones), the user's own commits do not become unreachable,
refusals name the files, and a crash is settled (:mod:`porter.tree.journal`). ``--keep`` is
:mod:`porter.tree.carry`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from porter.errors import CheckFailed, LocalEdits, PorterError
from porter.git.arguments import CHECKOUT
from porter.git.run import Answer, interrupts_deferred
from porter.tree.checkout_rules import (
    EMPTY_TREE,
    checkout_journal,
    is_refusal,
    occupied_paths,
    unfinished_operation,
)
from porter.tree.journal import changes, end_move, settle, write_journal
from porter.tree.submodules import (
    Pairs,
    Relinked,
    follow,
    leave,
    on_disk,
    refuse_edited,
    relinked,
)
from porter.tree.tree import (
    Position,
    Tree,
    TreeLevel,
    edits,
    files_between,
    listed_paths,
    position,
    shown,
)
from porter.tree.treelock import TreeLock


@dataclass(frozen=True, slots=True)
class Moved:
    """The result of a move. ``carried`` are the edited files that ``--keep`` merged."""

    start: Position
    target: TreeLevel
    carried: tuple[str, ...] = ()


def level_beside(tree: Tree, by: int) -> TreeLevel:
    """Return the level one up (``by`` = 1) or down (-1) from where the tree is.

    Raises CheckFailed at either end, below a patch that fails, and when HEAD is on no level.
    """
    here, levels, broken = position(tree), tree.record.levels, tree.record.broken
    if here.level is None:
        raise CheckFailed(
            f"{shown(tree.folder)}: HEAD ({here.commit[:8]}) descends from no level; name one:"
            " `porter goto LEVEL`"
        )
    same_name = [level for level in levels if level.name == here.level.name]
    number = same_name[0].number if here.former and same_name else here.level.number
    if by < 0 and here.ahead:
        number += 1  # one step down from own commits is the level they start from
    number = min(number, len(levels) - 1 if by > 0 else len(levels)) + by
    if number < 0:
        raise CheckFailed(f"{shown(tree.folder)}: already at level 0, pristine upstream")
    if number >= len(levels) and broken is not None and not all(broken.off.values()):
        raise broken.refusal(levels[-1].name, len(levels) - 1)
    if number >= len(levels):
        raise CheckFailed(f"{shown(tree.folder)}: already at the last level, {levels[-1]}")
    if by > 0 and levels[number].off and not levels[number - 1].off:
        raise CheckFailed(
            f"{shown(tree.folder)}: already at the last level, {levels[number - 1]};"
            f" {levels[number].name} is off by default: `porter goto {levels[number].name}`"
        )
    return levels[number]


def refuse_stale_lock(tree: Tree) -> None:
    """Raise CheckFailed if another git's ``index.lock`` exists."""
    path = tree.git_dir / "index.lock"
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return
    raise CheckFailed(
        f"{shown(path)}: a git command is running in this tree, or was killed {_ago(age)} ago;"
        " if none runs, delete this file and try again"
    )


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def refuse_unfinished(tree: Tree) -> None:
    """Raise LocalEdits during an unfinished merge, rebase or the like."""
    operation = unfinished_operation(str(tree.git_dir))
    if (tree.state_dir / "edit.json").exists():
        raise LocalEdits(
            f"{shown(tree.folder)}: a change of the series stopped at a conflict; `porter status`"
            " says how to continue or abort it"
        )
    if operation:
        raise LocalEdits(
            f"{shown(tree.folder)}: a {operation} is in progress; finish it, or"
            f" `git {operation.split()[0]} --abort`, before moving to another level"
        )


def refuse_lost_commits(tree: Tree, here: Position) -> None:
    """Raise LocalEdits if a move would make HEAD's own commits unreachable.

    So it does where git cannot tell, because a part of some branch's history is missing.
    """
    if here.branch is not None or (here.level is not None and here.ahead == 0):
        return
    named = ("refs/heads", "refs/tags", "refs/remotes", "refs/porter/levels")
    form = ("for-each-ref", "--count=1", f"--contains={here.commit}")
    if tree.git(*form, *named, check=False).text:
        return
    subject = tree.git("log", "-1", "--format=%h %s", here.commit).text
    many = f"{here.ahead} commits" if here.ahead > 1 else "a commit"
    raise LocalEdits(
        f"{shown(tree.folder)}: HEAD has {many} that no level contains ({subject});"
        " `porter refresh` makes levels of them, `git branch NAME` keeps them"
    )


def refuse_untracked(
    tree: Tree, here: Position, target: TreeLevel, submodules: Sequence[Relinked]
) -> None:
    """Raise LocalEdits if the level has a file where an untracked one is, ignored or not."""
    between: Pairs
    if here.level is not None and here.ahead == 0 and not here.former:
        between = files_between(tree.record.levels, here.level.number, target.number)
    else:
        between = changes(tree, here.commit, target.commit)
    occupied = occupied_paths(str(tree.folder), on_disk(between, submodules))
    if not occupied:
        return
    literal = (f":(literal){path}" for path in occupied)
    known = set(tree.git("ls-files", "-z", "--", *literal).fields())
    if untracked := [path for path in occupied if path not in known]:
        raise LocalEdits(
            f"{shown(tree.folder)}: level {target} would overwrite untracked files:"
            f" {listed_paths(untracked)}; move them away first"
        )


def move(
    tree: Tree,
    lock: TreeLock,
    target: TreeLevel,
    what: str,
    *,
    keep: bool = False,
    lost: bool = False,
) -> Moved:
    """Bring the tree to ``target``; ``what`` is the command, for messages.

    With ``lost`` HEAD's own commits may become unreachable: the series holds them.
    Raises LocalEdits, leaving the tree as it was, when an edit or an untracked file is in the way.
    """
    here = position(tree)
    if here.commit == target.commit and here.branch is None:
        return Moved(here, target)
    refuse_stale_lock(tree)
    refuse_unfinished(tree)
    if not lost:
        refuse_lost_commits(tree, here)
    submodules = relinked(tree, here.commit, target.commit)
    refuse_edited(submodules, target)
    refuse_untracked(tree, here, target, submodules)
    answer = _checkout(tree, lock, here.commit, target, what, submodules)
    if answer.status == 0:
        return Moved(here, target)
    moved = changes(tree, here.commit, target.commit)
    edited = [edit.path for edit in edits(tree, untracked=False) if edit.path in moved]
    if edited and keep:
        from porter.tree.carry import carry

        return Moved(here, target, carry(tree, lock, here.commit, target, what))
    where = shown(tree.folder)
    if edited:
        raise LocalEdits(
            f"{where}: local edits in {listed_paths(edited)}, which level {target} changes too;"
            " commit or undo them, or carry them along with --keep"
        )
    raise PorterError(f"{where}: git checkout: {answer.problem}; the tree is as it was")


def checkout_first(tree: Tree, lock: TreeLock, target: TreeLevel, what: str) -> None:
    """Fill a new tree's folder with a level."""
    existing = [
        path for path in changes(tree, EMPTY_TREE, target.commit) if (tree.folder / path).is_file()
    ]
    if existing:
        raise LocalEdits(
            f"{shown(tree.folder)}: the level would overwrite files: {listed_paths(existing)}; move"
            " them away first"
        )
    answer = _checkout(tree, lock, None, target, what)
    if answer.status != 0:  # the caller removes the tree, or the next attempt settles it
        raise PorterError(f"{shown(tree.folder)}: git checkout: {answer.problem}")


def _checkout(
    tree: Tree,
    lock: TreeLock,
    start: str | None,
    target: TreeLevel,
    what: str,
    submodules: Sequence[Relinked] = (),
) -> Answer:
    with interrupts_deferred():
        write_journal(tree, checkout_journal(what, start, target.commit))
        try:
            leave(submodules, lock.fd)
        except PorterError:
            settle(tree, lock.fd)
            raise
        answer = tree.git(*CHECKOUT, target.commit, check=False, lock=lock.fd)
        if answer.status == 0 or is_refusal(answer.err):
            follow(submodules, lock.fd, back=answer.status != 0)
            end_move(tree)
        elif start is not None:
            try:
                settle(tree, lock.fd)
            except (PorterError, OSError) as error:
                raise PorterError(
                    f"{shown(tree.folder)}: git checkout: {answer.problem}; and restoring"
                    f" the files failed ({error}): nothing is lost, run `porter status` here once"
                    " that is fixed"
                ) from None
    return answer
