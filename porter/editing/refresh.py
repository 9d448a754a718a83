"""Change a series from its tree: make levels of edits and commits, replay the levels above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from porter.editing import session as sessions
from porter.editing.land import land, read_files
from porter.editing.publish import (
    Published,
    Repository,
    Request,
    contents_differ,
    off_levels,
    publish,
)
from porter.editing.replay import Replay, make_commit, replay
from porter.editing.session import EditSession
from porter.editing.stack import Commit, Git, Stack, autosquashed, read_commits, tree_stack
from porter.errors import BadInput, CheckFailed
from porter.git.objects import Oid
from porter.places import patches_dir
from porter.project_change import lock_project
from porter.series.series import SERIES_FILE, read_patch, read_series_file
from porter.series.stamp import series_stamp
from porter.tree.journal import Files
from porter.tree.locked import LockedTree
from porter.tree.tree import (
    Tree,
    TreeLevel,
    listed_paths,
    position,
    project_of,
    read_head,
    series_changed,
    shown,
)
from porter.upstream.pins import Pins, load_pins


@dataclass(frozen=True, slots=True)
class Changed:
    """The series after a change: its patch files, and the level that the tree is at."""

    published: Published
    level: TreeLevel | None
    tree: Tree | None = None
    dropped: tuple[str, ...] = ()


def tree_repository(tree: Tree, pins: Pins | None = None, *, check: bool = False) -> Repository:
    """Return a tree's repository, whose commits become the series of its project.

    Raises BadInput, unless only to ``check``, in another project than the tree's.
    """
    root = project_of(tree, writing=not check)
    objects = tree.git_dir / "objects"
    return Repository(root, tree.record.port, pins or load_pins(root), tree.git, objects)


def base_commit(git: Git, oid: str) -> Commit:
    """Return level 0's commit."""
    tree = Oid(git("rev-parse", f"{oid}^{{tree}}").text)
    return Commit(Oid(oid), (), tree, "", "", "")


def refresh(
    held: LockedTree, what: str = "refresh", *, drop: bool = False, edits: bool = True,
    check: bool = False,
) -> Changed:  # fmt: skip
    """Make the tree's edits part of the level it is at, and its commits the series.

    The levels above are replayed on them. Without ``edits`` only commits count; with ``check``
    nothing is written. Raises CheckFailed
    at a conflict, which is then in the files (:mod:`porter.editing.session`), and BadInput for what
    cannot be a series; levels that the commits leave out need ``drop``.
    """
    tree = held.tree
    sessions.refuse_session(tree)
    refuse_changed_series(held)
    level0 = tree.record.levels[0]
    before = read_files(tree)
    commits = read_commits(tree.git, level0.commit, "HEAD", shown(tree.folder))
    if edits and before.work != tree.git("rev-parse", "HEAD^{tree}").text:
        if not commits:
            raise BadInput(
                f"{shown(tree.folder)}: at level 0, the upstream, which has no patch to refresh;"
                " `porter new NAME` makes a level of the edits"
            )
        parent = (Oid(commits[-1].parents[0]),)
        commits[-1] = make_commit(tree.git, replace(commits[-1], parents=parent, tree=before.work))
    stack = tree_stack(tree, commits)
    if not drop:
        refuse_dropped(stack, tree)
    stay = _stay(tree, commits)
    off = off_levels(patches_dir(project_of(tree, writing=not check), tree.record.port))
    request = Request(f"{what} {stay}".rstrip(), off, check=check, renamed=stack.renamed)
    return change(held, stack.commits, request, stay, before=before, dropped=stack.dropped)


def refuse_dropped(stack: Stack, tree: Tree) -> None:
    """Raise BadInput where HEAD leaves levels out of the series."""
    if stack.dropped:
        names = ", ".join(stack.dropped)
        raise BadInput(
            f"{shown(tree.folder)}: HEAD does not hold {names}; `porter refresh --drop` takes them"
            " out of the series (`porter undo` brings them back)"
        )


def _stay(tree: Tree, commits: Sequence[Commit]) -> str:
    """Return the level that the tree is at after the change: the last one HEAD holds."""
    plain = [commit for commit in autosquashed_or_all(commits) if not commit.squash]
    return plain[-1].level if plain else tree.record.levels[0].name


def autosquashed_or_all(commits: Sequence[Commit]) -> Sequence[Commit]:
    """As :func:`autosquashed`, but a target above HEAD is no error."""
    try:
        return autosquashed(commits)
    except BadInput:
        return [each for each in commits if "! " not in each.subject]


def refuse_changed_series(held: LockedTree) -> None:
    """Raise BadInput where HEAD stands on levels of a series that has changed since."""
    tree = held.tree
    here = position(tree)
    if here.former and here.level is not None:
        same = [level for level in tree.record.levels if level.name == here.level.name]
        name = same[0].name if same else here.level.name
        raise BadInput(
            f"{shown(tree.folder)}: the series changed while this tree was at {name};"
            f" `porter goto {name} --keep` moves it and its edits to the new level first"
        )


def change(
    held: LockedTree,
    commits: Sequence[Commit],
    request: Request,
    stay: str,
    *,
    before: Files | None = None,
    dropped: Sequence[str] = (),
) -> Changed:
    """Replay ``commits`` on level 0, write them as the series, and bring the tree to ``stay``.

    Raises CheckFailed at a conflict, with the tree in it.
    """
    repository = tree_repository(held.tree, check=request.check)
    if request.check:
        return _change(held, repository, commits, request, stay, before, dropped)
    with lock_project(repository.project):
        if series_changed(held.tree):
            raise CheckFailed(
                f"{repository.folder}: another porter has just changed the series; try again"
            )
        return _change(held, repository, commits, request, stay, before, dropped)


def _change(
    held: LockedTree,
    repository: Repository,
    commits: Sequence[Commit],
    request: Request,
    stay: str,
    before: Files | None,
    dropped: Sequence[str],
) -> Changed:
    tree = held.tree
    level0 = tree.record.levels[0].commit
    request = replace(request, failing=_failing(tree, repository, commits))
    done = replay(tree.git, level0, commits)
    if done.left and request.check:
        raise CheckFailed(
            f"{shown(tree.folder)}: {done.left[0].level} conflicts with what HEAD holds, in"
            f" {listed_paths(done.conflicts)}"
        )
    if done.left:
        head, branch = read_head(tree)
        files = before or read_files(tree)
        left = sessions.carriers(tree, done.left)
        levels = tuple(commit.level for commit in commits if not commit.squash)
        state = EditSession(
            request.what, head, branch, files.work, files.index, level0, stay, levels, left,
            tuple(sorted(request.off)), tuple(dropped), renamed=dict(request.renamed),
            stamp=series_stamp(str(repository.project), repository.port),
        )  # fmt: skip
        sessions.start(tree, state, files, done.tip)
        return finish(held, state)
    published = publish(repository, base_commit(tree.git, level0), done.commits, request)
    if request.check:
        return Changed(published, None, tree, tuple(dropped))
    fresh, level = land(tree, held.lock, stay, request.what)
    return Changed(published, level, fresh, tuple(dropped))


def _failing(tree: Tree, repository: Repository, commits: Sequence[Commit]) -> tuple[str, ...]:
    """Return the patch files whose levels do not exist, as one fails, unless ``commits`` do."""
    if tree.record.broken is None:
        return ()
    made = {commit.level for commit in commits}
    lines = read_series_file(repository.folder / SERIES_FILE)[0]
    levels = {line.name: read_patch(repository.folder / line.name).level for line in lines}
    failing = tree.record.broken.off
    return tuple(n for n, level in levels.items() if level in failing and level not in made)


def continue_change(held: LockedTree, command: str, *, skip: bool = False) -> Changed:
    """Go on with the change that stopped; with ``skip`` leave the commit in conflict out."""
    state = sessions.need_session(held.tree, command)
    if skip:
        state = sessions.skip(held.tree, state)
    sessions.pick_rest(held.tree, state)
    return finish(held, state)


def picked(tree: Tree, state: EditSession) -> Replay:
    """Return the commits that HEAD holds, squashed; CheckFailed where it lacks a level."""
    commits = autosquashed(read_commits(tree.git, state.base, "HEAD", shown(tree.folder)))
    done = replay(tree.git, Oid(state.base), commits)
    if lacking := sessions.missing_levels(state, done.commits):
        raise CheckFailed(
            f"{shown(tree.folder)}: HEAD lacks {lacking}; pick them (`git cherry-pick`), or"
            f" `porter {state.command} --abort`"
        )
    return done


def publish_picked(
    repository: Repository, done: Replay, request: Request, state: EditSession, *, is_same: bool
) -> Published:
    """Write the picked commits as the series; ``is_same``: it is still the one of the beginning.

    The project's lock must be held. Raises CheckFailed when somebody has changed the series since.
    """
    base = base_commit(repository.git, state.base)
    if not is_same:
        again = publish(repository, base, done.commits, replace(request, check=True))
        if contents_differ(again.patches):  # else a kill came after they were written
            raise CheckFailed(
                f"{repository.folder}: changed since `porter {state.what}` began;"
                f" `porter {state.command} --abort`, then give the command again"
            )
    return publish(repository, base, done.commits, request)


def finish(held: LockedTree, state: EditSession) -> Changed:
    """Write the picked commits as the series, and bring the tree where the command ends."""
    tree = held.tree
    done, repository = picked(tree, state), tree_repository(tree)
    request = Request(state.what, state.off, renamed=state.renamed)
    with lock_project(repository.project):
        stamp = series_stamp(str(repository.project), repository.port)
        is_same = state.stamp in ("", stamp)
        published = publish_picked(repository, done, request, state, is_same=is_same)
    fresh, level = land(tree, held.lock, state.stay, state.what, sessions.end_session)
    return Changed(published, level, fresh, state.dropped)


def abort_change(held: LockedTree, command: str) -> EditSession:
    """Bring the tree and the series back to how they stood before the command."""
    state = sessions.need_session(held.tree, command)
    sessions.abort(held.tree, state)
    return state
