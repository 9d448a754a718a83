"""Move a tree in the common case, with the fewest possible imports.

`git checkout` of a level takes a few milliseconds; importing all that :mod:`porter.tree.locked` and
:mod:`porter.tree.move` need (subprocess, dataclasses, pathlib) takes ten times as long. So the
common case is handled here: a complete tree on a recorded level of an unchanged series, with
nothing in the way. In any other case the tree stays as it is and the full path takes over; lock,
journal, rules and git command are the same (:mod:`porter.tree.checkout_rules`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from porter.atomic import write_atomic
from porter.errors import CheckFailed
from porter.git.arguments import CHECKOUT, git_command, git_environment, tree_arguments
from porter.series.stamp import series_stamp
from porter.tree.checkout_rules import (
    JOURNAL,
    checkout_journal,
    differing_files,
    is_refusal,
    occupied_paths,
    unfinished_operation,
)
from porter.tree.treelock import TreeLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Choose = Callable[["list[str]", int], "int | None"]
"""Takes the levels' names and the current number; returns the number of the level to go to."""


def by_name(text: str) -> Choose:
    """Choose the level that ``text`` names unambiguously."""

    def choose(names: list[str], _: int) -> int | None:
        if text.isdecimal() and text.isascii():
            return int(text) if int(text) < len(names) else None
        if text in names:
            return names.index(text)
        starting = [number for number, name in enumerate(names) if text and name.startswith(text)]
        return starting[0] if len(starting) == 1 else None

    return choose


def by_step(step: int) -> Choose:
    """Choose the level one up or down."""

    def choose(names: list[str], here: int) -> int | None:
        return here + step if 0 <= here + step < len(names) else None

    return choose


def fast_checkout(folder: str | None, choose: Choose, what: str) -> bool:
    """Move the tree around ``folder`` and print so; return False to leave it to the full path."""
    top = _top(os.path.realpath(folder or "."))
    if top is None:
        return False
    try:
        with TreeLock(os.path.join(top, ".git/porter"), what, patience=0) as lock:
            line = _move(top, choose, what, lock.fd)
    except (CheckFailed, OSError, ValueError, LookupError, TypeError, AttributeError):
        return False
    if line is None:
        return False
    print(line, flush=True)
    return True


def _top(folder: str) -> str | None:
    while not os.path.exists(os.path.join(folder, ".git/porter/tree.json")):
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return folder


def _read(*parts: str) -> str:
    with open(os.path.join(*parts), encoding="utf-8") as file:
        return file.read()


def _move(top: str, choose: Choose, what: str, lock: int) -> str | None:
    record = json.loads(_read(top, ".git/porter/tree.json"))
    if record["version"] != 1 or not record["complete"] or not _is_clean(top, record):
        return None
    head, levels = _read(top, ".git/HEAD").strip(), record["levels"]
    here = next((number for number, level in enumerate(levels) if level["commit"] == head), None)
    if here is None:
        return None
    broken = list((record.get("broken") or {}).get("off", ()))
    number = choose([*(level["name"] for level in levels), *broken], here)
    if number is None or number == here or number >= len(levels):
        return None
    if levels[number].get("off"):
        return None  # the full path decides whether its name was given
    differing = differing_files([level["files"] for level in levels], here, number)
    if not differing.keys().isdisjoint(record["submodules"]) or occupied_paths(top, differing):
        return None
    if not _checkout(top, head, levels[number]["commit"], what, lock):
        return None
    name = levels[number]["name"]
    if os.isatty(1) or os.environ.get("FORCE_COLOR"):  # else plain text, without the import
        from porter.terminal import colour_wanted, paint

        name = paint(name, "bold", colour_wanted())
    files = f"{len(differing)} file{'s' if len(differing) != 1 else ''}"
    return f"level {number} of {len(levels) + len(broken) - 1}: {name} ({files})"


def _is_clean(top: str, record: dict[str, Any]) -> bool:
    """Return whether no operation is unfinished and series and store are unchanged."""
    root = os.environ.get("PORTER_ROOT")
    if root and os.path.abspath(os.path.expanduser(root)) != record["root"]:
        return False
    git_dir = os.path.join(top, ".git")
    left = (f"porter/{JOURNAL}", "index.lock")
    if any(os.path.lexists(os.path.join(git_dir, name)) for name in left):
        return False
    if unfinished_operation(git_dir):
        return False
    store = _read(git_dir, "objects/info/alternates").splitlines()
    if not store or not all(map(os.path.isdir, store)):
        return False
    return bool(series_stamp(record["root"], record["port"]) == record["fingerprint"])


def _checkout(top: str, start: str, target: str, what: str, lock: int) -> bool:
    """Run the move under its journal; return False, with the tree as it was, if git refused."""
    journal = os.path.join(top, ".git/porter", JOURNAL)
    command = git_command(*tree_arguments(top), *CHECKOUT, target)
    write_atomic(journal, json.dumps(checkout_journal(what, start, target)).encode())
    status, err, pressed = _run(command, lock)
    if status == 0 or is_refusal(err):
        os.unlink(journal)
    else:
        from pathlib import Path

        from porter.tree.journal import settle
        from porter.tree.tree import open_tree

        if (tree := open_tree(Path(top))) is not None:
            settle(tree, lock)
    if pressed:
        raise KeyboardInterrupt
    return status == 0


def _run(command: list[str], lock: int) -> tuple[int, str, bool]:
    """Run git as :func:`porter.git.run.run_git` does.

    Returns its exit status, what it wrote to stderr, and whether Ctrl-C was pressed: that takes
    effect after git has ended. (Pressed between the start and the wait, it leaves git running with
    the lock, and the next command finds the journal.)
    """
    ours, gits = os.pipe()
    os.set_inheritable(lock, True)
    actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    try:
        child = os.posix_spawnp(
            "git",
            command,
            git_environment(),
            file_actions=[*actions, (os.POSIX_SPAWN_DUP2, gits, 2)],
            setpgroup=0,
        )
    finally:
        os.set_inheritable(lock, False)
        os.close(gits)
    err, pressed = b"", False
    with open(ours, "rb") as pipe:
        while True:
            try:
                err += pipe.read()
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                return status, err.decode(errors="replace"), pressed
            except KeyboardInterrupt:
                pressed = True
