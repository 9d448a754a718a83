"""``porter new``: a tree's edits become a level of their own, above the one it is at."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from porter.atomic import write_atomic
from porter.editing import session as sessions
from porter.editing.land import read_files
from porter.editing.message import faults, with_parts
from porter.editing.place import detached, free_name
from porter.editing.publish import Request, off_levels
from porter.editing.refresh import (
    Changed,
    change,
    refuse_changed_series,
    refuse_dropped,
    tree_repository,
)
from porter.editing.replay import make_commit
from porter.editing.stack import Commit, read_commits, tree_stack
from porter.errors import BadInput, CheckFailed, PorterError
from porter.git.objects import Oid
from porter.series.header import FIELDS
from porter.series.rendering import mail_date
from porter.terminal import listed
from porter.tree.journal import Files
from porter.tree.locked import LockedTree
from porter.tree.move import refuse_unfinished
from porter.tree.template import template, write_template
from porter.tree.tree import Tree, edits, listed_paths, shown

_DRAFT = "new-message"


@dataclass(frozen=True, slots=True)
class Made:
    """What ``porter new`` did: ``changed`` is None where it only prepared the commit template."""

    changed: Changed | None
    notes: tuple[str, ...] = ()


def new_level(
    held: LockedTree, name: str, values: Mapping[str, str], message: str | None = None
) -> Made:
    """Make a level ``name`` of the tree's edits, and replay the levels above on it.

    The message is ``message``, else made of ``values`` (:data:`porter.editing.message.PARTS`) if
    they are complete, else written in git's editor. Without edits the tree's commit template is
    prepared, and nothing else changes. Raises BadInput for a message that cannot be a header; what
    was typed stays in a file.
    """
    tree = held.tree
    sessions.refuse_session(tree)
    refuse_unfinished(tree)
    refuse_changed_series(held)
    repository = tree_repository(tree)
    broken = tree.record.broken.off if tree.record.broken else ()
    names = [*(level.name for level in tree.record.levels[1:]), *broken]
    free_name(name, names, repository.folder)
    values = {**values, "Level": name}
    notes = _untracked(tree)
    before = read_files(tree)
    commits = read_commits(tree.git, tree.record.levels[0].commit, "HEAD", shown(tree.folder))
    if before.work == tree.git("rev-parse", "HEAD^{tree}").text:
        write_template(tree.state_dir, names, template(values))
        return Made(None, notes)
    refuse_dropped(tree_stack(tree, commits), tree)
    author, date = _identity(tree)
    text = _complete(name, values) if message is None else _stated(name, message, values)
    if text is None:
        text = _edited(tree, name, values)
    commit = _commit(tree, before, author, date, text)
    stack = tree_stack(tree, [*commits, commit])
    off = off_levels(repository.folder)
    request = Request(f"new {name}", off, renamed=stack.renamed)
    draft = tree.state_dir / _DRAFT
    try:
        done = change(held, stack.commits, request, name, before=before)
    except CheckFailed:
        if sessions.read_session(tree) is not None:  # a commit to pick holds the message
            draft.unlink(missing_ok=True)
        raise
    draft.unlink(missing_ok=True)
    return Made(detached(done, request.what), notes)


def _untracked(tree: Tree) -> tuple[str, ...]:
    paths = [edit.path for edit in edits(tree) if edit.what == "?"]
    if not paths:
        return ()
    return (
        f"{shown(tree.folder)}: untracked, so not part of the level: {listed_paths(paths)};"
        " `git add` what belongs to it",
    )


def _commit(tree: Tree, before: Files, author: str, date: str, message: str) -> Commit:
    head = tree.git("rev-parse", "HEAD").text
    return make_commit(tree.git, Commit(Oid(head), (head,), before.work, author, date, message))


def _identity(tree: Tree) -> tuple[str, str]:
    """Return the author and the date of a commit made now. Raises BadInput where git knows none."""
    answer = tree.git("var", "GIT_AUTHOR_IDENT", check=False)
    if answer.status != 0:
        raise BadInput(
            f"{shown(tree.folder)}: git does not know who you are; `git config --global user.name"
            " NAME` and `git config --global user.email ADDRESS` tell it"
        )
    author, seconds, zone = answer.out.decode("utf-8", "replace").strip().rsplit(" ", 2)
    return author, mail_date(int(seconds), zone)


def _complete(name: str, values: Mapping[str, str]) -> str | None:
    """Return a message made of the given parts, or None if one is missing.

    Raises BadInput for parts that are all there and wrong.
    """
    values = {"Forwarded": "not-needed", **{part: text for part, text in values.items() if text}}
    text = with_parts("", values)
    if any(not values.get(part) for part in ("Subject", "Why", *FIELDS)):
        return None
    if found := faults(text, name):
        raise BadInput(f"{name}: {listed(found)}")
    return text


def _stated(name: str, message: str, values: Mapping[str, str]) -> str:
    """Return the message of a file, with the parts that are given beside it."""
    given = {part: value for part, value in values.items() if part != "Level"}
    text = with_parts(message, given)
    if not any(line.startswith("Level:") for line in text.split("\n")):
        text = with_parts(text, {"Level": name})
    if found := faults(text, name):
        raise BadInput(f"the message of {name}: {listed(found)}")
    return text


def _edited(tree: Tree, name: str, values: Mapping[str, str]) -> str:
    """Let the user write the message in git's editor. Raises BadInput for one that is no header."""
    draft = tree.state_dir / _DRAFT
    start = template(values)
    kept = draft.read_text("utf-8") if draft.is_file() else ""
    if f"Level: {name}\n" not in kept:
        write_atomic(draft, start.encode())
    _run_editor(tree, draft, values)
    clean = _without_comments(tree, draft.read_text("utf-8"))
    if clean == _without_comments(tree, start):
        draft.unlink()
        raise BadInput(f"{shown(tree.folder)}: no message was written; nothing changed")
    if found := faults(clean, name):
        raise BadInput(
            f"{shown(draft)}: {listed(found)}; the text is kept: `porter new {name}` opens it again"
        )
    return clean


def _without_comments(tree: Tree, text: str) -> str:
    form = ("-c", "core.commentChar=#", "stripspace", "--strip-comments")
    return tree.git(*form, stdin=text.encode()).out.decode("utf-8")


def _run_editor(tree: Tree, path: Path, values: Mapping[str, str]) -> None:
    """Open git's editor on a file, as git does."""
    editor = os.environ.get("GIT_EDITOR", "")
    if not editor:
        answer = tree.git("var", "GIT_EDITOR", check=False)
        editor = answer.text if answer.status == 0 else ""
    if not editor:
        options = {part: f"--{part.lower()}" for part in ("Subject", "Why", *FIELDS[1:])}
        missing = [option for part, option in options.items() if not values.get(part)]
        path.unlink(missing_ok=True)
        raise BadInput(
            f"{shown(tree.folder)}: the message lacks {listed(missing)}, and git has no editor"
            " here; pass them, or -F FILE"
        )
    status = subprocess.run(["sh", "-c", f'{editor} "$@"', editor, str(path)], cwd=tree.folder)
    if status.returncode:
        raise PorterError(f"{editor}: ended with status {status.returncode}; nothing changed")
