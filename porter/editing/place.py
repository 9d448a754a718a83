"""Where a series is changed: in a tree of its port, or in the store when there is no tree.

In a tree a conflict is git's own, to be resolved there. In the store a change that conflicts is
refused and nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from porter.editing import session as sessions
from porter.editing.land import place_head, refuse_edits
from porter.editing.level_commits import level_commits
from porter.editing.publish import Repository, Request, off_levels, publish, refuse_off_below
from porter.editing.refresh import (
    Changed,
    base_commit,
    change,
    refuse_changed_series,
    tree_repository,
)
from porter.editing.replay import replay
from porter.editing.stack import Commit, read_commits
from porter.errors import BadInput, CheckFailed, LocalEdits
from porter.levels.level_name import Broken, find_number
from porter.levels.levels import UPSTREAM
from porter.project_change import lock_project
from porter.terminal import counted
from porter.tree.locked import LockedTree, hold_tree
from porter.tree.move import refuse_unfinished
from porter.tree.tree import listed_paths, position, read_head, shown, tree_around


@dataclass(frozen=True)
class Place:
    """A series to change: its commits, and the tree it is changed in, if there is one.

    ``here`` names the level that the tree is at; ``broken`` are levels that do not apply.
    """

    what: str
    repository: Repository
    base: Commit
    commits: tuple[Commit, ...]
    off: frozenset[str]
    held: LockedTree | None = None
    here: str = UPSTREAM
    broken: Broken | None = None

    @property
    def names(self) -> list[str]:
        """The names of the levels, without level 0."""
        return [commit.level for commit in self.commits]

    def level(self, text: str) -> Commit:
        """Return the level that ``text`` names. Raises BadInput, for level 0 too."""
        number = find_number([UPSTREAM, *self.names], text, self.broken)
        if number == 0:
            raise BadInput("expected a level above 0, the upstream itself, which has no patch")
        return self.commits[number - 1]

    def free_name(self, name: str) -> str:
        """Return ``name``. Raises BadInput if a level has it, or if it cannot be a level's."""
        names = [*self.names, *(self.broken.off if self.broken else ())]
        return free_name(name, names, self.repository.folder)


def free_name(name: str, names: Sequence[str], folder: Path) -> str:
    """Return ``name``. Raises BadInput if one of ``names`` is it, or if it cannot be a level's."""
    from porter.series.header import is_level_name

    if not is_level_name(name):
        raise BadInput(
            f"{name!r}: expected a name of lower-case words joined by '-', not a number and not"
            " 'upstream'"
        )
    if name in names:
        raise BadInput(f"{folder}: there is a level {name} already ({names.index(name) + 1})")
    return name


@contextmanager
def open_place(start: str | None, root: Path, port: str, what: str) -> Iterator[Place]:
    """Open the series of ``port`` for the command ``what``: in the tree around ``start`` if it is
    one of the port, else in the store.

    Raises LocalEdits for a tree with edits or commits of its own, CheckFailed for one with a change
    in progress, and SourceUnavailable where no source has what the patches touch.
    """
    tree = tree_around(start)
    if tree is None or tree.record.port != port:
        with lock_project(root), level_commits(root, port) as series:
            off = frozenset(series.off)
            yield Place(what, series.repository, series.base, series.commits, off)
        return
    with hold_tree(start, what) as held:
        yield _in_tree(held, what)


def _in_tree(held: LockedTree, what: str) -> Place:
    tree = held.tree
    sessions.refuse_session(tree)
    refuse_unfinished(tree)
    refuse_edits(tree, what)
    at = position(tree)
    if at.former and at.level and all(at.level.name != level.name for level in tree.record.levels):
        refuse_changed_series(held)
    if at.level is None or at.ahead:
        many = counted(at.ahead, "commit") if at.level else "commits"
        raise LocalEdits(
            f"{shown(tree.folder)}: HEAD has {many} that no level holds; `porter refresh` makes"
            f" levels of them, before `porter {what}`"
        )
    levels = tree.record.levels
    commits = read_commits(tree.git, levels[0].commit, levels[-1].commit, shown(tree.folder))
    repository = tree_repository(tree)
    off = frozenset(off_levels(repository.folder))
    base = base_commit(tree.git, levels[0].commit)
    return Place(
        what, repository, base, tuple(commits), off, held, at.level.name, tree.record.broken
    )


def reshape(
    place: Place,
    commits: Sequence[Commit],
    *,
    renamed: Mapping[str, str] | None = None,
    parted: Mapping[tuple[str, str], str] | None = None,
) -> Changed:
    """Make ``commits`` the series, in the order given, each replayed on the one before it.

    For ``renamed`` and ``parted`` see :class:`porter.editing.references.LevelChange`; the part of
    a level that is off is off too. The tree ends at the level it was at, or at the nearest one
    below. Raises CheckFailed at a conflict.
    """
    names = dict(renamed or {})
    off = {names.get(name, name) for name in place.off}
    off |= {new for (old, _), new in (parted or {}).items() if old in place.off}
    request = Request(place.what, off, renamed=names, parted=parted or {})
    plain = [commit.level for commit in commits if not commit.squash]
    refuse_off_below(plain, off, place.repository.folder)
    if place.held is None:
        return _in_the_store(place, commits, request)
    below = [UPSTREAM, *place.names]
    below = below[: below.index(place.here) + 1]
    stay = next(
        name for old in reversed(below)
        if (name := names.get(old, old)) in plain or name == UPSTREAM
    )  # fmt: skip
    done = change(place.held, commits, request, stay)
    return detached(done, place.what)


def detached(done: Changed, what: str) -> Changed:
    """Detach a tree's HEAD at its level, if a branch is still checked out with the old one."""
    if done.tree and done.level and read_head(done.tree) != (done.level.commit, None):
        place_head(done.tree, done.level.commit, what)
    return done


def _in_the_store(place: Place, commits: Sequence[Commit], request: Request) -> Changed:
    repository = place.repository
    done = replay(repository.git, place.base.oid, commits)
    if done.left:
        raise CheckFailed(
            f"{repository.folder}: {done.left[0].level} conflicts in"
            f" {listed_paths(done.conflicts)}; nothing changed: the same command in a tree of the"
            f" port (`porter apply {repository.port} DIR`) lets you resolve it"
        )
    return Changed(publish(repository, place.base, done.commits, request), None)
