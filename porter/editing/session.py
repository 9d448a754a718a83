"""A change of a series that stopped at a conflict: continue it, leave a level out, or abort it.

The commits that replayed are checked out, and the rest is an ordinary ``git cherry-pick`` in
progress: conflict markers in the files, ``git status`` and ``git add`` as always.
``.git/porter/edit.json`` holds what the command was and how the tree stood before it. It is written
before the first file changes and deleted last, so a killed change can be continued or aborted too.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import msgspec

from porter.atomic import read_json, write_atomic
from porter.editing.replay import Replay, absent_files, make_commit, replay, tree_of
from porter.editing.stack import Commit, level_of, read_each
from porter.errors import BadInput, CheckFailed, LocalEdits, PorterError
from porter.git.arguments import CHECKOUT
from porter.git.objects import Oid
from porter.git.objects import oid as checked_oid
from porter.git.run import Answer, first_error, interrupts_deferred
from porter.terminal import listed
from porter.tree.checkout_rules import occupied_paths
from porter.tree.journal import Files, changes
from porter.tree.tree import Tree, listed_paths, shown

REFS = "refs/porter/edit/"
_AS_PORTER = (
    "user.name=porter",
    "user.email=porter@localhost",
    "commit.gpgSign=false",
    "core.editor=true",
    "merge.conflictStyle=merge",
    "rerere.enabled=false",
)


@dataclass(frozen=True, slots=True)
class EditSession:
    """A change in progress. ``command`` is its first word; ``left`` are the commits to pick.

    ``base`` is the commit that the series stands on afterwards, and ``pins`` the text of the pins
    file if the pin moves. ``levels`` are those that the series is to hold, ``renamed`` maps old
    names to new ones. ``stamp`` is the series that the change began with. ``saved`` is the blob
    with the bytes of git's index as it was (a tree alone would lose the sparse checkout), and
    ``saved_at`` its time, by which git compares files.
    """

    what: str
    head: str
    branch: str | None
    work: str
    index: str
    base: str
    stay: str
    levels: tuple[str, ...]
    left: tuple[str, ...]
    off: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    pins: str | None = None
    pins_before: str | None = None
    renamed: dict[str, str] = field(default_factory=dict)
    stamp: str = ""
    report: dict[str, str] = field(default_factory=dict)
    saved: str = ""
    saved_at: int = 0

    @property
    def command(self) -> str:
        return self.what.partition(" ")[0]


def session_path(tree: Tree) -> Path:
    return tree.state_dir / "edit.json"


def read_session(tree: Tree) -> EditSession | None:
    """Return the change that stopped in this tree, if any."""
    path = session_path(tree)
    try:
        value = read_json(path)
        session = msgspec.convert(value, EditSession)
        ids = (session.head, session.work, session.index, session.base, *session.left)
        for each in (*ids, *([session.saved] if session.saved else ())):
            checked_oid(each)
        return session
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise BadInput(
            f"{shown(path)}: damaged ({error}); inspect the tree with `git status`, then delete it"
        ) from None


def need_session(tree: Tree, command: str) -> EditSession:
    """Return the change in progress. Raises BadInput when there is none, or another command's."""
    session = read_session(tree)
    if session is None:
        raise BadInput(f"{shown(tree.folder)}: no `porter {command}` is in progress here")
    if session.command != command:
        raise BadInput(
            f"{shown(tree.folder)}: `porter {session.what}` is in progress, not `porter {command}`:"
            f" `porter {session.command} --continue` or `--abort`"
        )
    return session


def refuse_session(tree: Tree) -> None:
    """Raise CheckFailed while a change is in progress."""
    if (session := read_session(tree)) is not None:
        raise CheckFailed(
            f"{shown(tree.folder)}: `porter {session.what}` stopped at a conflict; resolve it, `git"
            f" add` the files and `porter {session.command} --continue`, or `--abort`"
        )


@dataclass(frozen=True, slots=True)
class Stopped:
    """Where a change in progress stopped: its level, and the files still in conflict."""

    session: EditSession
    level: str
    files: tuple[str, ...]


def where_stopped(tree: Tree) -> Stopped | None:
    """Return where the change in progress in this tree stopped; None when there is none."""
    session = read_session(tree)
    if session is None:
        return None
    picking = _stopped_at(tree)
    return Stopped(session, _subject(tree, picking) if picking else "", tuple(_unmerged(tree)))


def _unmerged(tree: Tree) -> list[str]:
    form = ("diff", "--name-only", "--diff-filter=U", "-z")
    return sorted(set(tree.git(*form).fields()))


def start(tree: Tree, session: EditSession, before: Files, tip: Oid) -> None:
    """Check ``tip`` out and pick the rest; returns when all are picked.

    Raises CheckFailed, naming the files, at a conflict.
    """
    with interrupts_deferred():
        index = tree.git_dir / "index"
        saved = tree.git("hash-object", "-w", "--no-filters", "--", index).text
        session = replace(session, saved=saved, saved_at=index.stat().st_mtime_ns)
        write_atomic(session_path(tree), json.dumps(asdict(session)).encode())
        kept = {"head": session.head, "work": before.work, "index": before.index, "saved": saved}
        kept |= {f"left/{number:04}": oid for number, oid in enumerate(session.left)}
        lines = (f"update {REFS}{name} {oid}\n" for name, oid in kept.items())
        tree.git("update-ref", "--stdin", stdin="".join(lines).encode())
    if before.work != tree.git("rev-parse", f"{session.head}^{{tree}}").text:
        # The edits are a commit of the replay: the files are its own.
        edited = _commit_of(tree, session.head, before.work)
        tree.git("update-ref", "--no-deref", "-m", f"porter: {session.what}", "HEAD", edited)
        tree.git("reset", "--mixed", "--quiet")
    try:
        _check_out(tree, tip)
        pick_rest(tree, session)
    except LocalEdits:
        abort(tree, session)
        raise


def _check_out(tree: Tree, commit: str) -> None:
    _refuse_occupied(tree, "HEAD", commit)
    tree.git(*CHECKOUT, commit)


def _refuse_occupied(tree: Tree, start: str, target: str) -> None:
    """Raise LocalEdits, naming them, for untracked files where ``target`` adds one.

    git is not asked (:func:`porter.tree.checkout_rules.occupied_paths`).
    """
    occupied = occupied_paths(str(tree.folder), changes(tree, start, target))
    literal = (f":(literal){path}" for path in occupied)
    known = set(tree.git("ls-files", "-z", "--", *literal).fields() if occupied else ())
    if untracked := [path for path in occupied if path not in known]:
        raise LocalEdits(
            f"{shown(tree.folder)}: untracked {listed_paths(untracked)} in the way of a file that"
            " the series has there; move that away, then try again"
        )


def _commit_of(tree: Tree, parent: str, work: str) -> str:
    own = [word for setting in _AS_PORTER for word in ("-c", setting)]
    return tree.git(*own, "commit-tree", "-m", "local edits", "-p", parent, work).text


def pick_rest(tree: Tree, session: EditSession) -> None:
    """Pick the commits that HEAD does not hold yet. Raises CheckFailed at a conflict.

    Those that merge are replayed as by :func:`replay`. The first that does not is left to ``git
    cherry-pick``, so that its conflict is in the files.
    """
    if _stopped_at(tree):
        _go_on(tree, session)
    while rest := _rest(tree, session):
        done = replay(tree.git, Oid(tree.git("rev-parse", "HEAD").text), rest)
        many = _before_empty(tree, done)
        if many:
            _check_out(tree, done.commits[many - 1].oid)
        if many == len(rest):
            return
        _refuse_occupied(tree, rest[many].parents[0], rest[many].oid)
        if (answer := _cherry_pick(tree, rest[many])).status != 0:
            _stopped(tree, session, rest[many].oid, answer)


def _rest(tree: Tree, session: EditSession) -> list[Commit]:
    """Return the commits of ``left`` that HEAD does not hold: by their level, or (fixups, which
    have none) by author, date and subject."""
    where = shown(tree.folder)
    here = read_each(tree.git, _commits(tree, f"{session.base}..HEAD"), where)
    there = {mark for commit in here for mark in _marks(commit)}
    left = read_each(tree.git, session.left, where)
    return [commit for commit in left if not there & _marks(commit)]


def _marks(commit: Commit) -> set[str]:
    row = f"{commit.author} {commit.date} {commit.subject}"
    is_fixup = re.match(r"(fixup|squash|amend)! ", commit.subject)
    return {row, f"level {commit.level}"} if commit.level and not is_fixup else {row}


def _before_empty(tree: Tree, done: Replay) -> int:
    """Return how many commits were replayed before the first that changes nothing."""
    before = tree_of(tree.git, done.base)
    for number, commit in enumerate(done.commits):
        if commit.tree == before:
            return number
        before = commit.tree
    return len(done.commits)


def _cherry_pick(tree: Tree, commit: Commit) -> Answer:
    # To find renames git would read files that are not here. git before 2.50 can be told not to
    # look for any by its older strategy alone.
    head = Oid(tree.git("rev-parse", "HEAD^{tree}").text)
    words: tuple[str, ...] = ("cherry-pick",)
    if absent_files(tree.git, head, [commit]):
        words = ("-c", "merge.renames=false", "cherry-pick", "--strategy=recursive")
    return _sequencer(tree, *words, "--allow-empty", commit.oid)


def _sequencer(tree: Tree, *words: str) -> Answer:
    own = [word for setting in _AS_PORTER for word in ("-c", setting)]
    return tree.git(*own, *words, check=False)


def stopped_empty(tree: Tree) -> bool:
    """Return whether the pick stopped at a commit that changes nothing here."""
    return bool(_stopped_at(tree)) and not tree.git("status", "--porcelain", "-uno").text


def _stopped_at(tree: Tree) -> str:
    """Return the commit whose pick stopped, empty when git could not even begin it."""
    return tree.git("rev-parse", "-q", "--verify", "CHERRY_PICK_HEAD", check=False).text


def _go_on(tree: Tree, session: EditSession) -> None:
    if unmerged := _unmerged(tree):
        raise CheckFailed(
            f"{shown(tree.folder)}: conflicts are left in {listed_paths(unmerged)}; resolve them,"
            f" `git add` them, then `porter {session.command} --continue`"
        )
    picking = _stopped_at(tree)
    left = {commit.oid for commit in _rest(tree, session)}
    if picking in {*session.left} - left:  # git was killed after it had made the commit
        _sequencer(tree, "cherry-pick", "--quit")
        (tree.git_dir / "CHERRY_PICK_HEAD").unlink(missing_ok=True)
        return
    if picking and not tree.git("diff-index", "--cached", "--name-only", "HEAD").text:
        raise CheckFailed(
            f"{shown(tree.folder)}: {_subject(tree, picking)} changes nothing here any more;"
            f" `porter {session.command} --skip` leaves it out of the series"
        )
    answer = _sequencer(tree, "cherry-pick", "--continue")
    if answer.status != 0:
        _stopped(tree, session, picking or "HEAD", answer)


def skip(tree: Tree, session: EditSession) -> EditSession:
    """Leave the commit that conflicts out of the series."""
    picking = _stopped_at(tree)
    if not picking:
        raise CheckFailed(f"{shown(tree.folder)}: no commit stopped here; nothing to leave out")
    level = _subject(tree, picking)
    at = session.levels.index(session.stay) if session.stay in session.levels else 0
    session = replace(
        session,
        stay=session.levels[at - 1] if at and level == session.stay else session.stay,
        levels=tuple(name for name in session.levels if name != level),
        left=tuple(oid for oid in session.left if oid != picking),
        dropped=(*session.dropped, level),
    )
    write_atomic(session_path(tree), json.dumps(asdict(session)).encode())
    answer = _sequencer(tree, "cherry-pick", "--skip")
    if answer.status != 0:
        _stopped(tree, session, picking, answer)
    return session


def _commits(tree: Tree, span: str) -> list[str]:
    return tree.git("rev-list", span).text.split()


def _stopped(tree: Tree, session: EditSession, oid: str, answer: Answer) -> None:
    if answer.ended_by:
        raise PorterError(f"{shown(tree.folder)}: git cherry-pick: {answer.problem}")
    picking = _stopped_at(tree)
    unmerged = _unmerged(tree)
    if unmerged:
        raise CheckFailed(
            f"{shown(tree.folder)}: {_subject(tree, picking or oid)} conflicts in"
            f" {listed_paths(unmerged)}; resolve it, `git add` the files and `porter"
            f" {session.command} --continue`, or `--abort`"
        )
    if picking and not tree.git("diff-index", "--cached", "--name-only", "HEAD").text:
        raise CheckFailed(
            f"{shown(tree.folder)}: {_subject(tree, picking)} changes nothing here any more;"
            f" `porter {session.command} --skip` leaves it out of the series, `--abort` goes back"
        )
    raise PorterError(f"{shown(tree.folder)}: git cherry-pick: {first_error(answer.err)}")


def _subject(tree: Tree, commit: str) -> str:
    """Return the level that a commit names, or the commit's id."""
    return level_of(tree.git("log", "-1", "--format=%B", commit).text) or commit


def abort(tree: Tree, session: EditSession) -> None:
    """Bring the tree back to how it stood before the command: HEAD, index and files."""
    with interrupts_deferred():
        if _stopped_at(tree):
            _sequencer(tree, "cherry-pick", "--quit")
            (tree.git_dir / "CHERRY_PICK_HEAD").unlink(missing_ok=True)
        tree.git("read-tree", "--reset", "-u", session.work)
        if session.branch is not None:
            tree.git("symbolic-ref", "HEAD", f"refs/heads/{session.branch}")
            tree.git("update-ref", "HEAD", session.head)
        else:
            tree.git("update-ref", "--no-deref", "HEAD", session.head)
        if session.saved:
            _restore_index(tree, session)
        tree.git("update-index", "-q", "--refresh", check=False)
        end_session(tree)


def _restore_index(tree: Tree, session: EditSession) -> None:
    """Replace git's index by the one that it had, and keep that for another attempt."""
    fresh = tree.state_dir / "index"  # what a kill leaves there, the next command deletes
    fresh.write_bytes(tree.git("cat-file", "blob", session.saved).out)
    os.utime(fresh, ns=(session.saved_at, session.saved_at))
    fresh.replace(tree.git_dir / "index")


def end_session(tree: Tree) -> None:
    """Forget the change in progress. Until the last step it can be continued or aborted."""
    rows = tree.git("for-each-ref", "--format=delete %(refname)", REFS).out
    if rows:
        tree.git("update-ref", "--stdin", stdin=rows)
    session_path(tree).unlink(missing_ok=True)


def carriers(tree: Tree, commits: Sequence[Commit]) -> tuple[str, ...]:
    """Return commits that ``git cherry-pick`` can take: as they are, or rewritten ones.

    A commit whose message is another than its object's, or that goes into the one before it, is
    written anew on its own parent.
    """
    return tuple(make_commit(tree.git, commit).oid for commit in commits)


def missing_levels(session: EditSession, commits: Sequence[Commit]) -> str:
    """Return the levels that the finished series lacks, as text; empty when it has all."""
    there = {commit.level for commit in commits}
    return listed(name for name in session.levels if name not in there)
