"""A series as commits: what HEAD and the levels above it are to become.

Commits made by hand at any level are understood as git means them: an amended commit replaces its
level, a new one becomes a level above the one it follows, ``fixup!`` goes into the commit it names,
and the levels above the last of them are replayed on top.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from porter.errors import BadInput
from porter.git.objects import Oid
from porter.git.run import Answer
from porter.tree.tree import Tree, TreeLevel, shown

Git = Callable[..., Answer]
"""Runs git on a repository: ``git("log", "-1", stdin=b"", check=False)``."""

_LEVEL = re.compile(r"^Level:[ \t]*(\S+)", re.MULTILINE)
_MARK = re.compile(r"(fixup|squash|amend)! (.*)")


@dataclass(frozen=True, slots=True)
class Commit:
    """What a patch is made of: author, date and message, and the trees before and after it.

    ``squash``: it goes into the patch before it and has none of its own.
    """

    oid: Oid
    parents: tuple[str, ...]
    tree: Oid
    author: str
    date: str
    message: str
    squash: bool = False

    def __str__(self) -> str:
        return f"commit {self.oid[:10]} ({self.subject})"

    @property
    def subject(self) -> str:
        return self.message.partition("\n")[0]

    @property
    def level(self) -> str:
        """The level that the message names; empty when it names none."""
        return level_of(self.message)


def level_of(message: str) -> str:
    """Return the level that a commit message names; empty when it names none."""
    found = _LEVEL.findall(message)
    return found[-1] if found else ""


def read_commits(git: Git, base: str, tip: str, where: str) -> list[Commit]:
    """Return the commits after ``base`` up to ``tip``, oldest first.

    Raises BadInput, naming ``where``, for a merge and for a tip that does not come from ``base``.
    """
    if git("merge-base", "--is-ancestor", base, tip, check=False).status != 0:
        raise BadInput(f"{where}: HEAD does not come from level 0 ({base[:10]}); rebase onto it")
    return read_range(git, f"{base}..{tip}", where)


def read_range(git: Git, revisions: str, where: str) -> list[Commit]:
    """Return the commits of a range as ``git log`` takes it, oldest first; no merges."""
    commits = _logged(git, where, "--reverse", revisions, "--")
    for commit in commits:
        if len(commit.parents) != 1:
            raise BadInput(f"{commit}: a merge commit; a series is linear, rebase it first")
    return commits


def read_each(git: Git, oids: Sequence[str], where: str) -> list[Commit]:
    """Return single commits, in the order given."""
    return _logged(git, where, "--no-walk=unsorted", *oids) if oids else []


def _logged(git: Git, where: str, *which: str) -> list[Commit]:
    form = "--format=" + "%x00".join(("%H", "%P", "%T", "%an <%ae>", "%aD", "%B"))
    out = git("log", "-z", "--encoding=UTF-8", form, *which).out
    try:
        fields = out.decode("utf-8").split("\0")[:-1] if out else []
    except UnicodeDecodeError:
        raise BadInput(f"{where}: a commit message is not UTF-8") from None
    rows = [fields[at : at + 6] for at in range(0, len(fields), 6)]
    return [Commit(Oid(a), tuple(b.split()), Oid(c), d, e, f) for a, b, c, d, e, f in rows]


@dataclass(frozen=True, slots=True)
class Stack:
    """The commits that the series is to hold; ``dropped`` names levels that it no longer holds.

    ``renamed`` maps a level's old name to its new one.
    """

    commits: tuple[Commit, ...]
    dropped: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)


def tree_stack(tree: Tree, head: Sequence[Commit]) -> Stack:
    """Return the whole series: the commits up to HEAD, and the levels above them.

    ``head`` are the commits after level 0. A level is above them if it stood above the last level
    that they hold, and dropped if it stood below that one.
    """
    levels = tree.record.levels
    commits = renamed(head, levels)
    held = {commit.level for commit, _ in commits} | {old for _, old in commits}
    last = max((level.number for level in levels if level.name in held), default=0)
    above = levels[last + 1 :]
    more = (
        read_commits(tree.git, levels[last].commit, above[-1].commit, shown(tree.folder))
        if above
        else []
    )
    dropped = tuple(level.name for level in levels[1 : last + 1] if level.name not in held)
    names = {old: commit.level for commit, old in commits if old and old != commit.level}
    stack = autosquashed([*(commit for commit, _ in commits), *more])
    return Stack(tuple(stack), dropped, names)


def renamed(head: Sequence[Commit], levels: Sequence[TreeLevel]) -> list[tuple[Commit, str]]:
    """Return each commit with the level it replaces: the one it names, or the one whose files it
    leaves under another name."""
    names = {level.name for level in levels}
    trees = {level.tree: level.name for level in levels[1:]}
    stated = {commit.level for commit in head}
    found = []
    for commit in head:
        old = trees.get(commit.tree, "")
        if commit.level in names or not commit.level or old in stated:
            old = commit.level
        found.append((commit, old))
    return found


def autosquashed(commits: Sequence[Commit]) -> list[Commit]:
    """Move each ``fixup!`` commit behind the commit it names, as ``git rebase --autosquash`` does.

    It names one by its subject, its level or its id.
    ``amend!`` replaces that commit's message too; of ``squash!`` the message is left out, since a
    level has one header. Raises BadInput for one whose target is not in the series.
    """
    done = [commit for commit in commits if not _MARK.match(commit.subject)]
    for commit in commits:
        mark = _MARK.match(commit.subject)
        if mark is None:
            continue
        target = mark[2]
        while inner := _MARK.match(target):
            target = inner[2]
        at = _target(done, target)
        if at is None:
            raise BadInput(f"{commit}: no commit of the series has the subject {target!r}")
        if mark[1] == "amend":
            text = commit.message.partition("\n")[2].strip()
            done[at] = replace(done[at], message=text + "\n")
        after = at + 1
        while after < len(done) and done[after].squash:
            after += 1
        done.insert(after, replace(commit, squash=True))
    return done


def _target(done: Sequence[Commit], target: str) -> int | None:
    named: tuple[Callable[[Commit], bool], ...] = (
        lambda commit: commit.subject == target,
        lambda commit: commit.level == target,
        lambda commit: commit.oid.startswith(target or "-"),
    )
    for is_meant in named:
        for at, commit in enumerate(done):
            if not commit.squash and is_meant(commit):
                return at
    return None
