"""The ordinary move of a tree, with nothing imported that it can do without.

`git checkout` of a level takes a few milliseconds; importing what the whole of a move needs
(:mod:`porter.tree.locked`, :mod:`porter.tree.move`: subprocess, dataclasses, pathlib) takes ten
times that. So the case that nearly every move is, a finished tree on a recorded level of an
unchanged series with nothing in the way, is done here. Anything out of the ordinary is left to the
whole path, with the tree as it was; lock, journal and git command are the same.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable

from porter.git.arguments import CHECKOUT, git_command, git_environment, tree_arguments
from porter.series.stamp import series_stamp
from porter.tree.lockline import holder_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OUT_OF_THE_ORDINARY = (
    "porter/move.json",
    "index.lock",
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "rebase-merge",
    "rebase-apply",
)

Choose = Callable[["list[str]", int], "int | None"]
"""Given the levels' names and the number of the present one: the number of the level to go to."""


def by_name(text: str) -> Choose:
    """Choose the level that ``text`` names without doubt."""

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
    """Move the tree around ``folder`` and say so; return False if that is no ordinary move."""
    top = _top(os.path.realpath(folder or "."))
    if top is None:
        return False
    try:
        lock = os.open(os.path.join(top, ".git/porter/lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(lock, holder_line(what), 0)
        line = _move(top, choose, what, lock)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    finally:
        os.close(lock)
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
    number = choose([level["name"] for level in levels], here)
    if number is None or number == here:
        return None
    if levels[number].get("off"):
        return None  # whether it was asked for by its name, the whole path sees
    differing = _differing(levels, here, number)
    if any(_occupied(top, path) for path, (old, _) in differing.items() if old is None):
        return None
    if not _checkout(top, head, levels[number]["commit"], what, lock):
        return None
    name = levels[number]["name"]
    if os.isatty(1) or os.environ.get("FORCE_COLOR"):  # else plain, without the import
        from porter.terminal import colour_wanted, paint

        name = paint(name, "bold", colour_wanted())
    files = f"{len(differing)} file{'s' if len(differing) != 1 else ''}"
    return f"level {number} of {len(levels) - 1}: {name} ({files})"


def _is_clean(top: str, record: dict[str, Any]) -> bool:
    """Return whether nothing is under way, and series and store are as they were."""
    root = os.environ.get("PORTER_ROOT")
    if root and os.path.abspath(os.path.expanduser(root)) != record["root"]:
        return False
    git_dir = os.path.join(top, ".git")
    if any(os.path.lexists(os.path.join(git_dir, name)) for name in _OUT_OF_THE_ORDINARY):
        return False
    store = _read(git_dir, "objects/info/alternates").splitlines()
    if not store or not all(map(os.path.isdir, store)):
        return False
    return bool(series_stamp(record["root"], record["port"]) == record["fingerprint"])


def _differing(levels: list[dict[str, Any]], one: int, other: int) -> dict[str, tuple[Any, Any]]:
    """Return the paths that differ between two levels, as ``porter.tree.tree.files_between``."""
    states: list[dict[str, str | None]] = []
    for number in (one, other):
        states.append({})
        for level in levels[: number + 1]:
            states[-1].update(level["files"])
    old, new = states
    return {path: (old[path], new[path]) for path in old if old[path] != new[path]}


def _occupied(top: str, path: str) -> bool:
    """Return whether something stands where a level adds a file, or a file for its folder."""
    if os.path.lexists(os.path.join(top, path)):
        return True
    above = os.path.dirname(path)
    while above and not os.path.lexists(os.path.join(top, above)):
        above = os.path.dirname(above)
    place = os.path.join(top, above)
    return bool(above) and (os.path.islink(place) or not os.path.isdir(place))


def _checkout(top: str, start: str, target: str, what: str, lock: int) -> bool:
    """Run the move under its journal; False when git refused, with the tree as it was."""
    note = os.path.join(top, ".git/porter/move.json")
    journal = {"what": what, "head_from": start, "head_to": target}
    journal |= {"work_from": start, "work_to": target, "index_from": start, "index_to": target}
    command = git_command(*tree_arguments(top), *CHECKOUT, target)
    with open(f"{note}.{os.getpid()}.tmp", "w", encoding="utf-8") as file:
        file.write(json.dumps(journal))
    os.replace(f"{note}.{os.getpid()}.tmp", note)
    status, pressed = _run(command, lock)
    if status == 0:
        os.unlink(note)
    else:
        from pathlib import Path

        from porter.tree.journal import settle
        from porter.tree.tree import open_tree

        if (tree := open_tree(Path(top))) is not None:
            settle(tree, lock)
    if pressed:
        raise KeyboardInterrupt
    return status == 0


def _run(command: list[str], lock: int) -> tuple[int, bool]:
    """Run git as :func:`porter.git.run.run_git` does, silently.

    Returns its exit status, and whether Ctrl-C was pressed: that waits until git has ended. (If it
    falls between the start and the wait, git goes on with the lock, and the journal tells the next
    command.)
    """
    os.set_inheritable(lock, True)
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    try:
        child = os.posix_spawnp(
            "git", command, git_environment(), file_actions=nowhere, setpgroup=0
        )
    finally:
        os.set_inheritable(lock, False)
    pressed = False
    while True:
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            break
        except KeyboardInterrupt:
            pressed = True
    return status, pressed
