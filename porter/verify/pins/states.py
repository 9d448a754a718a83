"""Open a state of the project: the working files, another folder, or a git revision.

A revision is read with git into a temporary folder: its pins, series and recipes. The repository
and its work tree are only read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from porter.errors import BadInput, PorterError
from porter.git.objects import Oid
from porter.git.odb import Odb
from porter.git.run import Answer, first_error, run_git
from porter.places import PINS_FILE
from porter.scratch import scratch_folder
from porter.verify.plan.port_trees import UpstreamTrees, open_trees

NOW = "now"
"""Names the working files."""
_PARTS = (PINS_FILE, "patches", "recipes")
_SYMLINK = "120000"
_FILES = ("100644", "100755")


@dataclass(frozen=True)
class State:
    """The project as it stands at one place: ``name`` as the user gave it, its root, its trees."""

    name: str
    root: Path
    trees: UpstreamTrees

    def upstream(self, port: str) -> str:
        """Return the port's upstream in a few words: a short commit id, or a release."""
        pin = self.trees.pins.port(port)
        return pin.commit[:12] if pin.commit else str(pin.sdist)


def two_states(text: str) -> tuple[str, str]:
    """Split ``OLD,NEW``. Raises BadInput for anything else, and for the same state twice."""
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names):
        raise BadInput(
            f"--pin {text}: expected OLD,NEW, each of them `{NOW}`, a git revision of the project "
            "or a project's folder"
        )
    if names[0] == names[1]:
        raise BadInput(f"--pin {text}: expected two states, found {names[0]!r} twice")
    return names[0], names[1]


@contextmanager
def open_states(root: Path, old: str, new: str) -> Iterator[tuple[State, State]]:
    """Open two states of the project at ``root``. Raises as :func:`open_state` does."""
    with (
        scratch_folder("state") as first,
        scratch_folder("state") as second,
        open_state(root, old, first) as before,
        open_state(root, new, second) as after,
    ):
        yield before, after


@contextmanager
def open_state(root: Path, name: str, scratch: Path) -> Iterator[State]:
    """Open a state of the project at ``root``; a revision is written below ``scratch``.

    An error in a file of a revision, also one raised in the block, names it as git does
    (``REVISION:PATH``). Raises BadInput for a name that is none of the three.
    """
    folder = _folder(root, name)
    if folder is None:
        folder = scratch
        _write_revision(root, name, scratch)
    with _named_in_errors(folder, name, folder == scratch), open_trees(folder) as trees:
        yield State(name, folder, trees)


def _folder(root: Path, name: str) -> Path | None:
    if name == NOW:
        return root
    path = Path(name).expanduser()
    return path.absolute() if (path / PINS_FILE).is_file() else None


@contextmanager
def _named_in_errors(folder: Path, name: str, applies: bool) -> Iterator[None]:
    try:
        yield
    except PorterError as error:
        if applies:
            error.args = (str(error).replace(f"{folder}{os.sep}", f"{name}:"),)
        raise


def _write_revision(root: Path, name: str, to: Path) -> None:
    """Write pins, patches and recipes of a revision below ``to``."""
    commit, git_dir = _find_commit(root, name)
    listed = _git(root, "ls-tree", "-r", "-z", commit, "--", *_PARTS).fields()
    rows = [row.split("\t", 1) for row in listed]
    entries = [(meta.split(" "), to / path) for meta, path in rows]
    if not any(path == to / PINS_FILE for _, path in entries):
        raise BadInput(f"--pin {name}: expected {PINS_FILE} in this revision, found none")
    with Odb(git_dir) as odb:
        contents = odb.read_many({Oid(oid) for (_, _, oid), _ in entries})
    for (mode, _, oid), path in entries:
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode not in (*_FILES, _SYMLINK):
            continue
        if oid not in contents:
            raise BadInput(
                f"--pin {name}: the repository lacks {path.relative_to(to)} (a partial clone); "
                f"`git checkout {name}` fetches it, in a work tree that a folder can name"
            )
        if mode == _SYMLINK:
            path.symlink_to(os.fsdecode(contents[Oid(oid)]))
        else:
            path.write_bytes(contents[Oid(oid)])


def _find_commit(root: Path, name: str) -> tuple[str, Path]:
    # Not --git-dir: that of a linked work tree holds no objects.
    where = run_git(["rev-parse", "--git-common-dir"], cwd=root, check=False)
    if where.status != 0:
        raise BadInput(
            f"--pin {name}: expected a folder with {PINS_FILE}, or a revision of the project's git "
            f"repository; {root}: {first_error(where.err)}"
        )
    found = run_git(
        ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"],
        cwd=root,
        check=False,
    )
    if found.status != 0:
        raise BadInput(
            f"--pin {name}: expected `{NOW}`, a revision of the git repository of {root} "
            f"or a folder with {PINS_FILE}, found none of this name; `git log --oneline` lists "
            "revisions"
        )
    return found.text, root / where.text


def _git(root: Path, *arguments: str) -> Answer:
    return run_git(list(arguments), cwd=root)
