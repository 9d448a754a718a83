"""Make patches of a whole tree: a folder, or a revision of a repository, against a level.

git reads the folder, so its ``.gitignore`` files decide what is left out. The index begins as the
level, so a file of the level is never ignored.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from porter.editing.level_commits import LevelCommits, copy_objects
from porter.errors import BadInput
from porter.exchange.incoming import Incoming, repository_git
from porter.git.objects import MODE_SUBMODULE, Entry, Oid
from porter.git.quoting import show_path
from porter.git.run import Answer
from porter.levels.levels import Level
from porter.levels.rediff import export_options
from porter.series.series import load_series
from porter.terminal import counted, listed

# What Python and desktops leave behind, where no .gitignore says so.
_LEFT_BEHIND = "__pycache__/\n*.py[co]\n*.egg-info/\n.pytest_cache/\n.DS_Store\n"
_AS_IT_IS = "* -text -filter -ident -working-tree-encoding\n"


@dataclass(frozen=True, slots=True)
class WholeTree:
    """A tree in the scratch repository, and what was left out of it."""

    tree: Oid
    where: str
    name: str
    seconds: int
    notes: tuple[str, ...] = ()


def read_folder(series: LevelCommits, folder: Path, level: Level) -> WholeTree:
    """Read the files of a folder as git would add them to ``level``."""
    reader = _Folder(series, folder, level)
    tree, notes = reader.read()
    where = str(folder)
    return WholeTree(tree, where, folder.resolve().name, reader.newest, notes)


def read_revision(series: LevelCommits, repository: Path, revision: str, level: Level) -> WholeTree:
    """Copy what a revision's tree does not share with ``level``. Raises BadInput."""
    there = repository_git(repository)
    answer = there("rev-parse", "--quiet", "--verify", f"{revision}^{{tree}}", check=False)
    if answer.status:
        raise BadInput(
            f"{revision}: expected a folder, or a revision of {repository}; found neither"
        )
    rows = there("ls-tree", "-r", "-t", "-z", answer.text).out.split(b"\0")[:-1]
    heads = [row.partition(b"\t")[0].split() for row in rows]
    known = {entry.oid for entry in series.upstream.odb.flat(level.tree).values()}
    oids = {row[2].decode() for row in heads if row[1] != b"commit"} - known
    copy_objects(there, series.folder, {*oids, answer.text})
    time = there("log", "-1", "--format=%ct", revision, check=False).text
    name = repository.resolve().name if revision == "HEAD" else revision
    return WholeTree(Oid(answer.text), revision, name, int(time or 0))


class _Folder:
    """Reads a folder into an index of its own."""

    def __init__(self, series: LevelCommits, folder: Path, level: Level) -> None:
        self.series, self.folder, self.level = series, folder.absolute(), level
        self.base = series.upstream.odb.flat(level.tree)
        self.newest = 0
        info = series.folder / "info"
        (info / "exclude").write_text(_LEFT_BEHIND)
        (info / "attributes").write_text(_AS_IT_IS)

    def git(self, *args: str, stdin: bytes | None = None) -> Answer:
        index = str(self.series.folder / "folder.index")
        env = {"GIT_INDEX_FILE": index, "GIT_WORK_TREE": str(self.folder)}
        return self.series.git(*args, stdin=stdin, env=env)

    def read(self) -> tuple[Oid, tuple[str, ...]]:
        self.git("read-tree", self.level.tree)
        modules = [
            f":(exclude,top,literal){path}" for path in self.series.repository.pin.submodules
        ]
        self.git("add", "--all", "--", ":/", *modules)
        tracked, sparse = self._own_index()
        forced = [path for path in tracked if _under(path, self._ignored())]
        if forced:
            paths = b"".join(path + b"\0" for path in forced)
            self.git("add", "-f", "--pathspec-from-file=-", "--pathspec-file-nul", stdin=paths)
        notes = []
        if ignored := self._ignored():
            names = listed(map(show_path, ignored))
            notes.append(f"{self.folder}: left out, as its .gitignore says: {names}")
        if kept := self._absent(sparse):
            self._put(kept)
            notes.append(f"{self.folder}: holds no {_some(kept)}, which the pin does not want")
        now = self._entries()
        inner = [p for p, e in now.items() if e.mode == MODE_SUBMODULE and p not in self.base]
        if inner:
            self._put(dict.fromkeys(inner))
            notes.append(f"{self.folder}: left out, git repositories: {_some(inner)}")
        changed = [p for p, e in now.items() if self.base.get(p) != e]
        files = (self.folder / os.fsdecode(path) for path in changed)
        self.newest = max((int(f.lstat().st_mtime) for f in files if f.is_file()), default=0)
        return Oid(self.git("write-tree", "--missing-ok").text), tuple(notes)

    def _own_index(self) -> tuple[list[bytes], set[bytes]]:
        """Return the paths that the folder's own repository tracks, and those not checked out."""
        if not (self.folder / ".git").exists():
            return [], set()
        rows = repository_git(self.folder)("ls-files", "-t", "-z").out.split(b"\0")[:-1]
        there = [row[2:] for row in rows if row[:1] != b"S"]
        return there, {row[2:] for row in rows if row[:1] == b"S"}

    def _ignored(self) -> list[bytes]:
        form = ("ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z")
        return [path for path in self.git(*form).out.split(b"\0")[:-1] if path != b".git/"]

    def _absent(self, sparse: set[bytes]) -> dict[bytes, Entry]:
        """Return the level's files that a folder of the wanted ones alone does not hold."""
        pin = self.series.repository.pin
        touched = {path for level in self.series.levels for path in level.files}
        gone = {path for path in self.base if not os.path.lexists(self._at(path))}
        unwanted = {path for path in self.base if not pin.wants(path)} - touched
        if unwanted & gone == unwanted:
            sparse = sparse | unwanted
        return {path: self.base[path] for path in sorted(gone & sparse)}

    def _at(self, path: bytes) -> bytes:
        return os.path.join(os.fsencode(self.folder), path)  # noqa: PTH118

    def _entries(self) -> dict[bytes, Entry]:
        rows = self.git("ls-files", "--stage", "-z").out.split(b"\0")[:-1]
        parts = [(row.partition(b"\t")[2], row.split(None, 2)) for row in rows]
        return {path: Entry(int(row[0], 8), Oid(row[1].decode())) for path, row in parts}

    def _put(self, entries: Mapping[bytes, Entry | None]) -> None:
        self.git("update-index", "-z", "--index-info", stdin=_index_rows(entries))


def _index_rows(entries: Mapping[bytes, Entry | None]) -> bytes:
    """Return entries as ``git update-index --index-info`` reads them, removals first."""
    gone = [path for path, entry in entries.items() if entry is None]
    rows = [b"0 %s\t%s\0" % (b"0" * 40, path) for path in gone]
    there = ((path, entry) for path, entry in entries.items() if entry is not None)
    rows += [b"%06o %s\t%s\0" % (e.mode, e.oid.encode(), path) for path, e in there]
    return b"".join(rows)


def _under(path: bytes, names: Iterable[bytes]) -> bool:
    return any(path == name or (name[-1:] == b"/" and path.startswith(name)) for name in names)


def _some(paths: Iterable[bytes]) -> str:
    names = [show_path(path) for path in paths]
    return listed(names) if len(names) < 4 else counted(len(names), "file")


def as_patches(
    series: LevelCommits, whole: WholeTree, level: Level, like: str | None
) -> list[Incoming]:
    """Return the difference between ``level`` and a tree as one patch.

    With ``like``, a port, one patch per level of that port, with the files that the level touches;
    a file that several levels touch goes into the first, and the rest into a last patch.
    """
    steps = [("", "", whole.tree)]
    form = ("diff-tree", "-r", "-z", "--no-renames", "--name-only", level.tree, whole.tree)
    changed = series.git(*form).out.split(b"\0")[:-1]
    series.bring(changed)
    if like:
        steps = _split(series, whole, level, changed, like)
    found, before = [], level.tree
    context = series.repository.pin.context
    for name, message, tree in steps:
        diff = series.git("diff-tree", *export_options(context), before, tree).out
        where = f"{whole.where}: {name}" if name else whole.where
        made = Incoming(
            where, name or whole.name, diff, message=message, seconds=whole.seconds,
            origin=f"the tree {whole.name}" + (f", split as {like} is" if like else ""),
        )  # fmt: skip
        found += [made] if diff else []
        before = tree
    return found


def _split(
    series: LevelCommits, whole: WholeTree, level: Level, changed: Iterable[bytes], like: str
) -> list[tuple[str, str, Oid]]:
    """Return (level name, message, tree) per level of ``like`` that touches a changed file."""
    index = {"GIT_INDEX_FILE": str(series.folder / "split.index")}
    rows = series.git("ls-tree", "-r", "-z", "--full-tree", whole.tree).out.split(b"\0")[:-1]
    parts = [(row.partition(b"\t")[2], row.split(None, 3)) for row in rows]
    there = {path: Entry(int(row[0], 8), Oid(row[2][:40].decode())) for path, row in parts}
    left = set(changed)
    series.git("read-tree", level.tree, env=index)
    steps = []
    for patch in load_series(series.repository.project, like).patches:
        own = left & {path for file in patch.files for path in file.paths}
        if not own:
            continue
        left -= own
        entries = {path: there.get(path) for path in sorted(own)}
        series.git("update-index", "-z", "--index-info", stdin=_index_rows(entries), env=index)
        tree = Oid(series.git("write-tree", "--missing-ok", env=index).text)
        devices = ", ".join(patch.header.devices)
        message = f"{patch.header.subject}\n\nDevices: {devices}\n"
        steps.append((patch.level, message, tree))
    return [*steps, ("rest", "", whole.tree)] if left else steps
