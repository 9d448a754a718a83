"""``porter store verify``: what of the cache beside the store's objects changed on disk.

Snapshots of levels are hashed and compared with their tree ids in the store; traces, verdicts,
markers of environments and memos of levels with the checksums written with them; packages of
environments with the hashes of their RECORD; the history is read by ``git fsck``.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from porter.atomic import read_json
from porter.editing.history import history_damage, repair_history
from porter.errors import PorterError
from porter.git.objects import Entry, Oid
from porter.git.odb import Odb
from porter.levels.levels import damaged_memos
from porter.places import cache_dir
from porter.upstream.snapshot import drop_tree, folder_name, present_files, tree_problem
from porter.upstream.store import store_dir
from porter.verify.cache.store import read_verdicts
from porter.verify.environment.venv import MARKER, marker_problem
from porter.verify.harness.run_info import HEAD
from porter.verify.harness.sums import damage_of

Damaged = list[tuple[Path, str]]


@dataclass(frozen=True)
class CacheAudit:
    """One kind of things in the cache: how many there are, and which differ, and how.

    ``repairs`` says what was done about these; empty where nothing was asked for or needed.
    """

    what: str
    count: int
    damaged: tuple[tuple[Path, str], ...]
    repairs: tuple[str, ...] = ()

    @property
    def is_broken(self) -> bool:
        """Whether something is damaged and was not repaired."""
        return bool(self.damaged) and not self.repairs


def audit_cache(*, repair: bool) -> Iterator[CacheAudit]:
    """Check everything in the cache but the store; with ``repair``, delete what is damaged.

    It is made again when it is needed. Of the history every log that can be read is kept.
    """
    yield _audited("snapshots of levels", _trees(), repair, drop_tree)
    yield _audited("environments", _environments(), repair, _forget_environment)
    yield _audited("traces", _traces(), repair, shutil.rmtree)
    yield _audited("verdicts", _verdicts(), repair, os.unlink)
    count, memos = damaged_memos()
    found = count, [(path, "not as it was written") for path in memos]
    yield _audited("memos of levels", found, repair, os.unlink)
    yield _history(repair)


def _audited(
    what: str, found: tuple[int, Damaged], repair: bool, drop: Callable[[Path], object]
) -> CacheAudit:
    count, damaged = found
    for path, _ in damaged if repair else ():
        drop(path)
    done = ("deleted; made again when needed",) if damaged and repair else ()
    return CacheAudit(what, count, tuple(damaged), done)


def _history(repair: bool) -> CacheAudit:
    count, lines = history_damage()
    damaged = tuple((cache_dir() / "history.git", line) for line in lines)
    done = tuple(repair_history()) if damaged and repair else ()
    return CacheAudit("logs of undo", count, damaged, done)


def _entries(pattern: str) -> list[Path]:
    return [path for path in sorted(cache_dir().glob(pattern)) if not path.name.startswith(".")]


def _trees() -> tuple[int, Damaged]:
    folders = _entries("trees/*")
    damaged = []
    with ExitStack() as opened:
        stores = [opened.enter_context(Odb(path)) for path in sorted(store_dir().glob("*.git"))]
        for folder in folders:
            if problem := _snapshot_problem(stores, folder):
                damaged.append((folder, problem))
    return len(folders), damaged


def _snapshot_problem(stores: list[Odb], folder: Path) -> str:
    """Compare a snapshot with the tree that its name begins with, and its submodules' trees."""
    tree = Oid(folder.name.partition("-")[0])
    try:
        entries, inner = _files_of(stores, tree)
    except PorterError:
        return "no upstream in the store has its tree"
    found = present_files(folder)
    expected = {path: entry for path, entry in entries.items() if path in found}
    if problem := tree_problem(folder, expected):
        return problem
    return "" if _is_whole(folder.name, tree, found, inner) else "a file of it is gone"


def _files_of(
    stores: list[Odb], tree: Oid
) -> tuple[dict[bytes, Entry], dict[bytes, tuple[Oid, set[bytes]]]]:
    """Return the files of a tree, submodules' included, and tree and files of each submodule.

    Raises PorterError when no upstream in the store has the tree.
    """
    entries = _holder(stores, tree).flat(tree)
    files = {path: entry for path, entry in entries.items() if entry.is_blob}
    inner: dict[bytes, tuple[Oid, set[bytes]]] = {}
    for path, entry in entries.items():
        if not entry.is_blob:
            try:
                odb = _holder(stores, entry.oid)
                own = Oid(odb.read(entry.oid).split(maxsplit=2)[1].decode())
                below = {name: each for name, each in odb.flat(own).items() if each.is_blob}
            except PorterError:
                continue  # a submodule that no pin names
            inner[path] = own, set(below)
            files |= {path + b"/" + name: each for name, each in below.items()}
    return files, inner


def _holder(stores: list[Odb], oid: Oid) -> Odb:
    for odb in stores:
        if odb.has([oid]):
            return odb
    raise PorterError(f"{oid}: no upstream in the store has it")


def _is_whole(
    name: str, tree: Oid, found: set[bytes], inner: dict[bytes, tuple[Oid, set[bytes]]]
) -> bool:
    """Whether a snapshot's name is that of the files found, with any of the submodules."""
    for chosen in itertools.product((True, False), repeat=len(inner)):
        outer, parts = set(found), []
        for path in itertools.compress(sorted(inner), chosen):
            below = {one for one in found if one.startswith(path + b"/")}
            outer -= below
            names = {one.removeprefix(path + b"/") for one in below}
            parts.append((os.fsdecode(path), str(inner[path][0]), names))
        if folder_name(tree, [("", str(tree), outer), *parts]) == name:
            return True
    return False


def _environments() -> tuple[int, Damaged]:
    homes = [path for path in _entries("environments/*") if (path / MARKER).exists()]
    found = ((home, _environment_problem(home)) for home in homes)
    return len(homes), [(home, problem) for home, problem in found if problem]


def _environment_problem(home: Path) -> str:
    try:
        marker = read_json(home / MARKER)
    except (OSError, ValueError):
        return f"{MARKER} is damaged"
    if problem := marker_problem(home, marker):
        return problem
    return next(_changed_packages(home / marker["build"] / "venv"), "")


def _changed_packages(venv: Path) -> Iterator[str]:
    """Yield a line for each installed file that differs from its package's RECORD."""
    for record in sorted(venv.glob("lib/*/site-packages/*.dist-info/RECORD")):
        with record.open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.reader(file):
                if len(row) < 2 or not row[1].startswith("sha256="):
                    continue
                try:
                    digest = hashlib.sha256((record.parents[1] / row[0]).read_bytes()).digest()
                except OSError:
                    yield f"{row[0]} is gone"
                    continue
                stated = row[1].partition("=")[2].rstrip("=")
                if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != stated:
                    yield f"{row[0]} was changed"


def _forget_environment(home: Path) -> None:
    """Delete the marker alone: the next use builds anew, and removes the old build."""
    (home / MARKER).unlink()


def _traces() -> tuple[int, Damaged]:
    folders = [head.parent for head in _entries(f"traces/*/*/*/{HEAD}")]
    found = ((folder, damage_of(folder)) for folder in folders)
    return len(folders), [(folder, problem) for folder, problem in found if problem]


def _verdicts() -> tuple[int, Damaged]:
    files, damaged = _entries("verdicts/*/*/*.json"), []
    for path in files:
        try:
            read_verdicts(path)
        except (OSError, ValueError) as error:
            damaged.append((path, str(error)))
    return len(files), damaged
