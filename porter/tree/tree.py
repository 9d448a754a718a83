"""A tree: a level of a port checked out into a folder, as an ordinary git work tree.

The folder's ``.git`` is a small repository that borrows the upstream's objects from porter's store
(``objects/info/alternates``), with ``HEAD`` detached at a level's commit and a ref for every level
under ``refs/porter/levels/``. porter's own state is in ``.git/porter/``:

- ``tree.json``: the port, the project's root, the levels as last built, and what no source serves.
  The levels are valid while the series' files are unchanged (:mod:`porter.series.stamp`), so that
  moving imports neither YAML nor the object database;
- ``move.json``: exists only during a move (:mod:`porter.tree.journal`);
- ``lock``: see :mod:`porter.tree.treelock`.

The level a tree is at is not stored: ``HEAD`` says it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from porter.atomic import read_json, write_atomic
from porter.errors import BadInput
from porter.git.arguments import tree_arguments
from porter.git.objects import Oid
from porter.git.objects import oid as checked_oid
from porter.git.run import Answer, require, run_git
from porter.levels.level_name import Broken, find_level
from porter.places import is_project, project_above, project_root
from porter.project_change import settle_project
from porter.series.stamp import series_stamp
from porter.terminal import listed, readable
from porter.tree.checkout_rules import differing_files
from porter.tree.treelock import drop_git_locks, held

STATE_VERSION = 1
LEVEL_REFS = "refs/porter/levels/"
_HEX = re.compile(r"[0-9a-f]{40}\Z")


@dataclass(frozen=True, slots=True)
class TreeLevel:
    """A level as recorded in a tree.

    ``files`` are the paths its patch touches, with their blob ids (None: deleted); for level 0 all
    paths that any patch touches. So the files that differ between two levels are known without git.
    """

    number: int
    name: str
    commit: Oid
    tree: Oid
    subject: str = ""
    files: dict[str, str | None] = field(default_factory=dict)
    off: bool = False

    def __str__(self) -> str:
        return f"{self.number} ({self.name})"


@dataclass(frozen=True, slots=True)
class TreeRecord:
    """``tree.json``. ``former`` is the level that ``HEAD`` was at when the series changed.

    ``levels`` are those that could be built, ``broken`` the ones above them that could not.
    """

    port: str
    root: str
    fingerprint: str
    levels: tuple[TreeLevel, ...]
    former: TreeLevel | None = None
    source: str = ""
    files: int = 0
    uncovered: tuple[str, ...] = ()
    submodules: dict[str, str] = field(default_factory=dict)
    complete: bool = True
    version: int = STATE_VERSION
    broken: Broken | None = None

    @property
    def last(self) -> int:
        """The number of the series' last level, whether it could be built or not."""
        return len(self.levels) + len(self.broken.off if self.broken else ()) - 1


@dataclass(frozen=True, slots=True)
class Tree:
    """An opened tree."""

    folder: Path
    record: TreeRecord

    @property
    def git_dir(self) -> Path:
        return self.folder / ".git"

    @property
    def state_dir(self) -> Path:
        return self.git_dir / "porter"

    def git(
        self,
        *args: str | Path,
        stdin: bytes | None = None,
        check: bool = True,
        index: Path | None = None,
        lock: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run git on this tree, on ``index`` if given.

        git inherits the descriptor ``lock``, by default the tree's lock if this process holds it.

        It never fetches or looks for another repository.
        """
        more = dict(env or {})
        lock = held.get(str(self.state_dir)) if lock is None else lock
        if index is not None:
            more["GIT_INDEX_FILE"] = str(index)
        words = [*tree_arguments(str(self.folder)), *args]
        answer = run_git(
            words,
            cwd=self.folder,
            stdin=stdin,
            env=more,
            check=False,
            keep_open=() if lock is None else (lock,),
        )
        if answer.ended_by and str(self.state_dir) in held:
            drop_git_locks(str(self.git_dir))
        if check:
            require(answer, words, self.folder)
        return answer


@dataclass(frozen=True, slots=True)
class Position:
    """Where ``HEAD`` is: ``ahead`` commits after ``level`` (None if it descends from none).

    ``former`` is True when the level is one of the series before it changed.
    """

    commit: Oid
    level: TreeLevel | None
    ahead: int = 0
    branch: str | None = None
    former: bool = False


def shown(path: Path) -> str:
    """Return ``path`` as a user would type it: relative if it is below here, else absolute."""
    text = str(path)
    try:
        relative = os.path.relpath(path)
    except (ValueError, OSError):
        return text
    return text if relative.startswith("..") or relative == "." else relative


def listed_paths(paths: Iterable[str]) -> str:
    """Return the first few paths as a message names them, and how many more there are."""
    return listed(map(readable, paths))


def write_record(state_dir: Path, record: TreeRecord) -> None:
    """Write ``tree.json``."""
    write_atomic(state_dir / "tree.json", json.dumps(asdict(record), indent=1).encode() + b"\n")


def read_record(state_dir: Path) -> TreeRecord | None:
    """Return ``tree.json``, or None when there is none. Raises BadInput if it is not porter's."""
    path = state_dir / "tree.json"
    try:
        value = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise BadInput(f"{path}: expected porter's JSON, found {error}") from None
    version = value.get("version") if isinstance(value, dict) else None
    if version != STATE_VERSION:
        raise BadInput(
            f"{path}: expected version {STATE_VERSION}, found {version!r};"
            " another version of porter made this tree: make a new one with `porter apply`"
        )
    try:
        value["levels"] = tuple(TreeLevel(**level) for level in value["levels"])
        value["former"] = TreeLevel(**value["former"]) if value["former"] else None
        value["uncovered"] = tuple(value["uncovered"])
        value["broken"] = Broken(**value["broken"]) if value.get("broken") else None
        record = TreeRecord(**value)
        _check_types(record)
        return record
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadInput(
            f"{path}: damaged ({error}); make another tree with `porter apply`"
        ) from None


def _check_types(record: TreeRecord) -> None:
    """Raise ValueError or TypeError for a value of another type. (Without msgspec: a wall.)"""
    numbers = [level.number for level in record.levels]
    if not numbers or numbers != list(range(len(numbers))):
        raise ValueError(f"levels numbered {numbers}")
    texts: list[object] = [record.port, record.root, record.fingerprint, record.source]
    texts += [*record.uncovered, *record.submodules, *record.submodules.values()]
    for level in (*record.levels, *([record.former] if record.former else ())):
        checked_oid(level.commit)
        checked_oid(level.tree)
        texts += [level.name, level.subject, *level.files]
        texts += [blob for blob in level.files.values() if blob is not None]
    if record.broken is not None:
        texts += [record.broken.why, *record.broken.off]
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise TypeError(f"expected text, found {wrong[0]!r}")


def open_tree(folder: Path) -> Tree | None:
    """Return the tree whose top folder is ``folder``, or None."""
    record = read_record(folder / ".git" / "porter")
    return None if record is None else Tree(folder, record)


def find_tree(start: Path | str | None = None) -> Tree:
    """Return the tree that holds ``start`` (the working directory).

    Raises BadInput, saying what the folder is instead.
    """
    try:
        first = Path(start or ".").expanduser().resolve(strict=True)
    except FileNotFoundError:
        raise BadInput(f"{start}: no such folder; `porter apply PORT DIR` makes a tree") from None
    for folder in (first, *first.parents):
        if (tree := open_tree(folder)) is not None:
            if not tree.record.complete:
                raise BadInput(
                    f"{shown(folder)}: `porter apply` was interrupted here; run"
                    f" `porter apply {tree.record.port} {shown(folder)}` again"
                )
            return tree
    what = "not a tree of porter's"
    if any((folder / ".git").exists() for folder in (first, *first.parents)):
        what = "a git repository that porter did not make"
    raise BadInput(
        f"{shown(first)}: {what}; name a tree with -C DIR, or make one: `porter apply PORT DIR`"
    )


def tree_around(start: Path | str | None = None) -> Tree | None:
    """Return the whole tree that holds ``start`` (the working directory), or None."""
    try:
        first = Path(start or ".").expanduser().resolve(strict=True)
    except FileNotFoundError:
        return None
    for folder in (first, *first.parents):
        if (tree := open_tree(folder)) is not None:
            return tree if tree.record.complete else None
    return None


def tree_root(tree: Tree) -> Path:
    """Return the project whose series this tree follows, to read it; see :func:`writing_root`.

    ``PORTER_ROOT`` if set, else the one it was made from, else the one found from here.
    """
    root = Path(tree.record.root)
    if os.environ.get("PORTER_ROOT") or not is_project(root):
        root = project_root()
    settle_project(root)
    return root


def writing_root(tree: Tree) -> Path:
    """Return the project that a command may write into for ``tree``.

    ``PORTER_ROOT`` (or ``--root``) if set, else the project the tree was made from. Every command
    that writes into a project on behalf of a tree asks here first, and prints the folder.

    Raises BadInput when the working directory lies in another project, or when the tree's own
    project is gone: then only ``--root`` says which one is meant.
    """
    if os.environ.get("PORTER_ROOT"):
        return project_root()
    recorded, here = Path(tree.record.root), project_above()
    if not is_project(recorded):
        raise BadInput(
            f"{tree.folder}: a tree of {recorded}, which is no project any more;"
            " name the project to write into with --root DIR"
        )
    if here is not None and not here.samefile(recorded):
        raise BadInput(
            f"{tree.folder}: a tree of {recorded}, but the project here is {here};"
            " name the one to write into with --root DIR"
        )
    return recorded


def project_of(tree: Tree | None, *, writing: bool = False) -> Path:
    """Return the project of a command: its tree's, else the one found from here.

    ``writing`` asks :func:`writing_root`. Raises BadInput where there is none.
    """
    if tree is None:
        return project_root()
    return writing_root(tree) if writing else tree_root(tree)


def series_changed(tree: Tree) -> bool:
    """Return whether the series changed since the recorded levels were built."""
    return series_stamp(str(tree_root(tree)), tree.record.port) != tree.record.fingerprint


def read_head(tree: Tree) -> tuple[Oid, str | None]:
    """Return (commit of HEAD, branch it is on or None)."""
    text = (tree.git_dir / "HEAD").read_text().strip()
    if _HEX.match(text):
        return Oid(text), None
    branch = text.removeprefix("ref: ").removeprefix("refs/heads/")
    answer = tree.git("rev-parse", "--verify", "--quiet", "HEAD", check=False)
    if answer.status != 0:
        raise BadInput(f"{shown(tree.folder)}: HEAD is on {branch!r}, which has no commit")
    return Oid(answer.text), branch


def position(tree: Tree, levels: Sequence[TreeLevel] | None = None) -> Position:
    """Return the tree's position among ``levels`` (default: the recorded ones)."""
    commit, branch = read_head(tree)
    known = {level.commit: level for level in levels or tree.record.levels}
    if commit in known:
        return Position(commit, known[commit], branch=branch)
    former = {level.commit: level for level in tree.record.levels}
    if tree.record.former is not None:
        former[tree.record.former.commit] = tree.record.former
    if commit in former:
        return Position(commit, former[commit], branch=branch, former=True)
    history = tree.git("rev-list", "--first-parent", "--max-count=5000", "HEAD").text.split()
    for ahead, ancestor in enumerate(history):
        level = known.get(Oid(ancestor)) or former.get(Oid(ancestor))
        if level is not None:
            return Position(commit, level, ahead, branch, former=ancestor not in known)
    return Position(commit, None, 0, branch)


@dataclass(frozen=True, slots=True)
class Edit:
    """One line of ``git status``: what happened to ``path`` ("M", "A", "D", "U", "?")."""

    what: str
    path: str
    staged: bool = False


def edits(tree: Tree, *, untracked: bool = True, ignored: bool = False) -> tuple[Edit, ...]:
    """Return the local edits of a tree, by path."""
    answer = tree.git(
        "--no-optional-locks",
        "status",
        "--porcelain=v1",
        "-z",
        "--no-renames",
        "--ignore-submodules=none",  # said here, git does not read .gitmodules, which may be bad
        f"--untracked-files={'all' if ignored else 'normal' if untracked else 'no'}",
        *(["--ignored=matching"] if ignored else []),
    )
    found = []
    for row in answer.fields():
        index, work, path = row[0], row[1], row[3:]
        if row[:2] in ("??", "!!"):
            what = "?"
        elif "U" in row[:2] or row[:2] in ("AA", "DD"):
            what = "U"
        else:
            what = work if work != " " else index
        found.append(Edit(what, path, staged=index not in " ?!"))
    return tuple(sorted(found, key=lambda edit: edit.path))


def pick_level(tree: Tree, text: str) -> TreeLevel:
    """Return the level that ``text`` names: number, name or unique prefix.

    Raises BadInput, and CheckFailed for a level that a failing patch leaves unbuilt.
    """
    return find_level(tree.record.levels, text, tree.record.broken)


def files_between(
    levels: Sequence[TreeLevel], one: int, other: int
) -> dict[str, tuple[str | None, str | None]]:
    """Return the differing files of two recorded levels, as ``differing_files`` does."""
    return differing_files([level.files for level in levels], one, other)
