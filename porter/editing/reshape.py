"""Rename, move, drop, fold and split the levels of a series.

Each makes the list of commits that the series is to be; :func:`porter.editing.place.reshape`
replays and writes it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from porter.editing.message import joined, relabelled, with_parts
from porter.editing.place import Place, reshape
from porter.editing.refresh import Changed
from porter.editing.replay import make_commit, tree_of
from porter.editing.stack import Commit, Git
from porter.errors import BadInput
from porter.git.objects import Oid
from porter.scratch import scratch_folder

_NONE = "0" * 40


def rename_level(place: Place, text: str, new: str) -> Changed:
    """Give a level another name."""
    level = place.level(text)
    place.free_name(new)
    commits = [
        replace(each, message=relabelled(each.message, new)) if each is level else each
        for each in place.commits
    ]
    return reshape(place, commits, renamed={level.level: new})


Where = Literal["before", "after", "first", "last"]


def move_level(place: Place, text: str, where: Where, other: str = "") -> Changed:
    """Move a level before or after ``other``, or to either end of the series.

    The last place of a level that is on is below those that are off.
    """
    level = place.level(text)
    rest = [each for each in place.commits if each is not level]
    if where in ("before", "after"):
        target = place.level(other)
        if target is level:
            raise BadInput(f"expected two levels, found {level.level} twice")
        at = rest.index(target) + (where == "after")
    elif where == "first":
        at = 0
    else:
        at = len([each for each in rest if level.level in place.off or each.level not in place.off])
    return reshape(place, [*rest[:at], level, *rest[at:]])


def drop_levels(place: Place, texts: Sequence[str]) -> Changed:
    """Take levels out of the series."""
    gone = [place.level(text) for text in texts]
    return reshape(place, [each for each in place.commits if each not in gone])


def fold_level(place: Place, text: str, into: str | None = None) -> Changed:
    """Make one level of two: the changes of a level go into a lower one, which keeps its name."""
    level = place.level(text)
    at = place.commits.index(level)
    if into is None and at == 0:
        raise BadInput(f"{level.level} is the lowest level, so there is none below to fold it into")
    below = place.level(into) if into is not None else place.commits[at - 1]
    if place.commits.index(below) >= at:
        raise BadInput(
            f"expected a level below {level.level} to fold it into, found {below.level};"
            f" `porter fold {below.level} --into {level.level}` is the other way round"
        )
    if level.level in place.off and below.level not in place.off:
        raise BadInput(
            f"{level.level} is off by default and {below.level} is not: folded, its changes would"
            " be on"
        )
    # The mark is git's own, so that a conflict leaves an ordinary cherry-pick behind.
    mark = f"fixup! {below.level}\n\nLevel: {level.level}\n"
    commits: list[Commit] = []
    for each in place.commits:
        if each is below:
            commits.append(replace(each, message=joined(below.message, level.message)))
            commits.append(replace(level, message=mark, squash=True))
        elif each is not level:
            commits.append(each)
    return reshape(place, commits, renamed={level.level: below.level})


@dataclass(frozen=True, slots=True)
class _Row:
    """A file that a level changes: its mode and blob afterwards (mode 0: deleted)."""

    path: str
    mode: str
    blob: str

    def text(self) -> str:
        return f"{self.mode} {self.blob}\t{self.path}\0"


def split_level(
    place: Place,
    text: str,
    new: str,
    paths: Sequence[str],
    *,
    above: bool = False,
    values: Mapping[str, str] | None = None,
) -> Changed:
    """Make a level ``new`` of a level's changes in ``paths`` (git's pathspecs), below the rest.

    Its header is the level's own, with ``values`` (:data:`porter.editing.message.PARTS`) replaced.
    """
    level = place.level(text)
    place.free_name(new)
    git = place.repository.git
    parent = Oid(level.parents[0])
    base = tree_of(git, parent)
    rows = _rows(git, base, level.tree)
    taken = _rows(git, base, level.tree, *paths)
    if not taken:
        raise BadInput(
            f"{level.level} changes nothing in {' '.join(paths)};"
            f" it changes {', '.join(row.path for row in rows)}"
        )
    if len(taken) == len(rows):
        raise BadInput(
            f"all that {level.level} changes is in {' '.join(paths)}, so nothing would be left;"
            f" `porter rename {level.level} {new}` renames it"
        )
    message = with_parts(relabelled(level.message, new), values or {})
    lower = _written(git, base, [row for row in rows if row not in taken] if above else taken)
    first, second = (level.message, message) if above else (message, level.message)
    one = make_commit(git, replace(level, parents=(parent,), tree=lower, message=first))
    two = make_commit(git, replace(level, parents=(one.oid,), message=second))
    at = place.commits.index(level)
    commits = [*place.commits[:at], one, two, *place.commits[at + 1 :]]
    return reshape(place, commits, parted={(level.level, row.path): new for row in taken})


def _rows(git: Git, old: Oid, new: Oid, *paths: str) -> list[_Row]:
    form = ("diff-tree", "-r", "-z", "--no-renames", "--no-commit-id")
    fields = git(*form, old, new, "--", *paths).fields()
    rows = []
    for head, path in zip(fields[::2], fields[1::2], strict=True):
        _, mode, _, blob, status = head.split(" ")
        rows.append(_Row(path, "0", _NONE) if status == "D" else _Row(path, mode, blob))
    return rows


def _written(git: Git, tree: Oid, rows: Collection[_Row]) -> Oid:
    """Return ``tree`` with some files changed."""
    from os import fsencode

    with scratch_folder("split") as folder:
        index = folder / "index"
        git("read-tree", tree, index=index)
        changes = "".join(row.text() for row in sorted(rows, key=lambda row: row.mode != "0"))
        git(
            "update-index", "--add", "--replace", "-z", "--index-info",
            stdin=fsencode(changes), index=index,
        )  # fmt: skip
        return Oid(git("write-tree", "--missing-ok", index=index).text)
