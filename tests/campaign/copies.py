"""Copies of a folder that it is brought back to, and which of its files are not as they were.

A file that has the inode, times, size and mode that it had when it was brought back was not
touched: only the others are copied again. A round of the campaign changes a few of some hundred.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import zlib
from dataclasses import dataclass, field
from pathlib import Path

_Stat = tuple[int, int, int, int, int]
State = tuple[tuple[str, str], ...]
_RANDOM = (
    (re.compile(rb"\.[0-9A-Za-z_]+\.new\b"), b".N.new"),  # porter/atomic.py
    (re.compile(rb"\btmp_[a-z]+_[0-9A-Za-z]{6}\b"), b"tmp"),  # git
    (re.compile(rb"(?<=[-@])[0-9A-Za-z_]{8}\b"), b"N"),  # tempfile's
    (re.compile(rb"[0-9a-f]{8,}\.path\b"), b"N.path"),  # porter/upstream/registry.py
    (re.compile(rb"[0-9]{3,}"), b"N"),  # process ids, times
)
"""What differs from run to run in the names of files, and in what is said of processes."""
_NAMES_PROCESSES = re.compile(r"(^|/)(porter/lock|[^/]+\.lock|[^/]+\.path)$")
_STATES = re.compile(r"(.*/history\.git)/(?:(refs)/.*|objects/..(?:/[0-9a-f]{38})?)$")
_COMMIT = re.compile(rb"(?<!^tree )\b[0-9a-f]{40}\b|\b[0-9]{10} [+-][0-9]{4}\b", re.MULTILINE)
"""In the log of states a commit has the time of its making, and so other names after it."""


_OBJECT = re.compile(r"/objects/([0-9a-f]{2}|[0-9a-f]{2}/[0-9a-f]{38}|pack/[^/]*)$")


def without_objects(state: State) -> State:
    """Leave out the objects of git that came: what no reference and no index names is not used."""
    return tuple(row for row in state if not _OBJECT.search(row[0]) or not row[1])


@dataclass
class Copies:
    """``top`` is the folder, ``kept`` holds its copies by name."""

    top: Path
    kept: Path
    _name: str = ""
    _there: dict[str, _Stat] = field(default_factory=dict)

    def keep(self, name: str) -> None:
        """Copy the folder as it is now."""
        _copy(self.top, self.kept / name)
        self._name = ""

    def back(self, name: str) -> list[str]:
        """Bring the folder back to a copy; return the paths that were brought, all the first time.

        A path that is there and not in the copy is deleted.
        """
        if self._name != name:
            _copy(self.kept / name, self.top)
            self._name, self._there = name, _stats(self.top)
            return list(self._there)
        now = _stats(self.top)
        for path in sorted(now.keys() - self._there.keys(), reverse=True):
            _delete(self.top / path)
        brought = [path for path, was in self._there.items() if not _same(now.get(path), was)]
        for path in brought:
            self._bring(path)
        for path in brought:
            self._there[path] = _stat(self.top / path)
        return brought

    def _bring(self, path: str) -> None:
        source, target = self.kept / self._name / path, self.top / path
        if source.is_dir() and not source.is_symlink():
            if target.is_symlink() or not target.is_dir():
                _delete(target)
                target.mkdir()
            shutil.copystat(source, target)
            return
        _delete(target)
        shutil.copy2(source, target, follow_symlinks=False)

    def accept(self, path: str) -> None:
        """Take a file as it is now into the copy."""
        shutil.copy2(self.top / path, self.kept / self._name / path, follow_symlinks=False)
        self._there[path] = _stat(self.top / path)

    def changes(self) -> State:
        """Return what changed since the folder was brought back: paths and hashes of contents.

        What differs between two runs that do the same is left out: process ids, times of making,
        random letters in temporary names, times and inodes in git's index files.
        """
        now = _stats(self.top)
        found = [(path, "") for path in self._there.keys() - now.keys()]
        for path, its in now.items():
            was = self._there.get(path)
            if not _same(its, was):
                found.append((self._plain(path) if was is None else path, self._hash(path)))
        return tuple(sorted(found))

    def _plain(self, path: str) -> str:
        if state := _STATES.match(path):
            return path if state[2] else state[1]
        return path if _OBJECT.search(path) else _plain(path.encode()).decode()

    def _hash(self, name: str) -> str:
        path = self.top / name
        mode = path.lstat().st_mode
        data = b""
        if stat.S_ISLNK(mode):
            data = os.fsencode(path.readlink())
        elif stat.S_ISREG(mode):
            data = path.read_bytes()
            if state := _STATES.match(name):
                data = _state(self.top / state[1], data if state[2] else path)
            elif data.startswith(b"DIRC\0\0\0\2"):
                data = _without_stats(data)
            elif _NAMES_PROCESSES.search(name):
                data = _plain(data)
        return f"{mode:o} {hashlib.sha1(data).hexdigest()}"


def _plain(text: bytes) -> bytes:
    for pattern, instead in _RANDOM:
        text = pattern.sub(instead, text)
    return text


def _state(git_dir: Path, what: bytes | Path) -> bytes:
    """Return an object of the log of states, or what a reference to one leads to."""
    if isinstance(what, bytes):
        oid = what.strip().decode(errors="replace")
        path = git_dir / "objects" / oid[:2] / oid[2:]
        if len(oid) != 40 or not path.is_file():
            return what
        what = path
    try:
        data = zlib.decompress(what.read_bytes())
    except zlib.error:
        return what.read_bytes()
    return _COMMIT.sub(b"", data.partition(b"\0")[2]) if data.startswith(b"commit ") else data


def _same(now: _Stat | None, was: _Stat | None) -> bool:
    """A folder's times say nothing of what is below it, which is compared itself."""
    if now is not None and was is not None and stat.S_ISDIR(now[4]):
        return now[4] == was[4]
    return now == was


def _stats(top: Path) -> dict[str, _Stat]:
    """Return every path below a folder, folders before what they hold."""
    found: dict[str, _Stat] = {}
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(os.path.join(top, folder)) as entries:  # noqa: PTH118 (of hundreds)
            for entry in entries:
                path = f"{folder}{entry.name}"
                its = entry.stat(follow_symlinks=False)
                found[path] = _tuple(its)
                if stat.S_ISDIR(its.st_mode):
                    pending.append(f"{path}/")
    return found


def _stat(path: Path) -> _Stat:
    return _tuple(path.lstat())


def _tuple(its: os.stat_result) -> _Stat:
    return its.st_ino, its.st_mtime_ns, its.st_ctime_ns, its.st_size, its.st_mode


def _without_stats(index: bytes) -> bytes:
    """Return an index (version 2, gitformat-index(5)) without its files' times and inodes."""
    rows, at = [index[:12]], 12
    for _ in range(int.from_bytes(index[8:12], "big")):
        end = index.find(b"\0", at + 62)
        if end < 0:
            return index
        rows.append(index[at + 24 : end])  # after both times, device and inode
        at += (end - at + 8) // 8 * 8
    return b"\0".join([*rows, index[at:-20]])


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)
