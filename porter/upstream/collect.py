"""``porter gc``: garbage collection of the store and the cache.

It keeps the pins of every registered project (their commit, trees, and files fetched so far) and
everything that the registered work trees can reach: branches, tags, reflogs, index. Objects that a
running porter writes are not reachable yet, so repositories written to within the last hour, and
everything else of that age, are kept too.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from porter.errors import BadInput, PorterError
from porter.git.objects import Oid
from porter.git.odb import WRITTEN, MissingObject, Odb, git_environment
from porter.git.packs import DamagedPack, read_index
from porter.git.run import config_fault
from porter.places import cache_dir
from porter.scratch import ABROAD, is_owned, remove_abandoned
from porter.upstream.gitfetch import drop_files, publish_packs, staging
from porter.upstream.pins import Pin, load_pins
from porter.upstream.registry import forget_gone, projects, trees
from porter.upstream.sources import level0_commit
from porter.upstream.store import store_dir, upstream_lock

GRACE_SECONDS = 3600.0
UNUSED_SECONDS = 14 * 86400.0  # of what any run makes again: snapshots of levels, traces


@dataclass(frozen=True)
class Freed:
    """Something freed (or, in a dry run, to be freed), and its size."""

    what: str
    path: Path
    size: int


def collect(root: Path, *, dry_run: bool, now: bool = False) -> Iterator[Freed]:
    """Free what no pin and no work tree needs; yield each thing. ``now`` skips the hour's grace.

    Raises BadInput when a registered project's pins cannot be read: its needs are unknown then.
    """
    pins: dict[str, list[Pin]] = {}
    for project in {root.absolute(), *projects()}:
        for pin in load_pins(project).pins.values():
            pins.setdefault(pin.name, []).append(pin)
    oldest = time.time() - (0 if now else GRACE_SECONDS)
    for git_dir in sorted(store_dir().glob("*.git")):
        with upstream_lock(git_dir.stem):
            yield from _collect_upstream(git_dir, pins.get(git_dir.stem, []), oldest, dry_run)
    unused = time.time() - (0 if now else UNUSED_SECONDS)
    yield from _old("trees/*", unused, "unused snapshot", dry_run)
    yield from _collect_environments(unused, dry_run)
    for pattern, before, what in (
        ("traces/*/*/*", unused, "trace of an old run"),
        ("verdicts/*/*/*", unused, "unused verdicts"),
        ("mutants/*/*/*", unused, "unused notes, made again when needed"),
        ("cluster.git", unused, "unused objects of a cluster's runs"),
        ("probe-names/*", unused, "unused notes, made again when needed"),
        # A younger one may still run.
        ("runs/*", time.time() - UNUSED_SECONDS, "left by a killed run"),
        ("staging/*", oldest, "left by a killed fetch"),
        ("levels/**/.*.new", oldest, "left by a killed command"),
        ("store/*.new", oldest, "left by a killed command"),
        ("store/*.gone", oldest, "left by a killed command"),
    ):
        yield from _old(pattern, before, what, dry_run)
    if not dry_run:
        with suppress(OSError):
            remove_abandoned(Path(tempfile.gettempdir()), ABROAD)
        forget_gone()


def _old(pattern: str, before: float, what: str, dry_run: bool) -> Iterator[Freed]:
    """Free what matches in the cache and was last used ``before``, or whose process has ended."""
    for path in sorted(cache_dir().glob(pattern)):
        is_held = is_owned(path.name)
        if is_held is False or (is_held is None and path.stat().st_mtime <= before):
            yield free(path, what, dry_run)


def _collect_environments(unused: float, dry_run: bool) -> Iterator[Freed]:
    """Free unused probe environments; any run makes them again."""
    for folder in sorted(cache_dir().glob("environments/*")):
        used = folder / "current.json"  # touched whenever a probe runs there
        if not folder.is_dir() or (used if used.exists() else folder).stat().st_mtime > unused:
            continue
        try:
            with FileLock(f"{folder}.lock", timeout=0):  # held: another porter is building it
                yield free(folder, "unused probe environment", dry_run)
        except Timeout:
            continue


def _collect_upstream(
    git_dir: Path, pins: list[Pin], oldest: float, dry_run: bool
) -> Iterator[Freed]:
    borrowers = [tree for tree in trees() if _borrows(tree, git_dir)]
    written = git_dir / WRITTEN
    if written.exists() and written.stat().st_mtime > oldest:
        return
    if not pins and not borrowers:
        yield free(git_dir, "upstream that no pin names", dry_run)
        return
    for path in _unfinished(git_dir):
        if path.stat().st_mtime <= oldest:
            yield free(path, "unfinished pack", dry_run)
    needed: set[Oid] = set()
    with Odb(git_dir) as odb:
        for pin in pins:
            needed |= _needed_by_pin(odb, pin)
    for tree in borrowers:
        needed |= _needed_by_tree(tree)
    yield from _repack(git_dir, needed, oldest, dry_run)


def _repack(git_dir: Path, needed: set[Oid], oldest: float, dry_run: bool) -> Iterator[Freed]:
    """Rewrite packs with unneeded objects as one new pack of what is needed."""
    keep: set[Oid] = set()
    drop: list[Path] = []
    spare = 0
    for index in sorted((git_dir / "objects" / "pack").glob("*.idx")):
        pack = index.with_suffix(".pack")
        if pack.stat().st_mtime > oldest:
            continue
        try:
            rows = read_index(index)
        except DamagedPack:
            return  # `porter store verify` repairs it
        ends = [row.offset for row in rows[1:]] + [pack.stat().st_size - 20]
        unneeded = sum(
            end - row.offset for row, end in zip(rows, ends, strict=True) if row.oid not in needed
        )
        if unneeded:
            spare += unneeded
            drop.append(pack)
            keep |= {row.oid for row in rows} & needed
    if not drop:
        return
    if not dry_run:
        if keep:
            with staging(git_dir.stem) as fresh:
                form = ("pack-objects", "-q", "--threads=1", fresh / "objects" / "pack" / "pack")
                names = "".join(f"{oid}\n" for oid in sorted(keep)).encode()
                done = _git(f"--git-dir={git_dir}", *form, data=names)
                if done.returncode:
                    raise PorterError(f"{git_dir}: cannot repack: {_last_line(done.stderr)}")
                publish_packs(fresh, git_dir)
        drop_files(git_dir, drop)
    yield Freed("objects that no pin and no work tree needs", git_dir, spare)


def _needed_by_pin(odb: Odb, pin: Pin) -> set[Oid]:
    commit = level0_commit(pin)
    try:
        trees_of_pin = set(odb.trees(pin.tree).values())
        blobs = {entry.oid for entry in odb.flat(pin.tree).values()}
    except MissingObject:
        return {commit}
    return {commit} | trees_of_pin | blobs


def _needed_by_tree(folder: Path) -> set[Oid]:
    """Return every object that a work tree can reach. Raises PorterError when git fails."""
    form = ("rev-list", "--objects", "--no-object-names", "--all", "--reflog", "--indexed-objects")
    done = _git("-C", folder, *form, "--missing=allow-any", "--ignore-missing")
    if done.returncode:
        raise PorterError(
            f"{folder}: expected a work tree of porter's, found one git cannot read "
            f"({_last_line(done.stderr)}); repair or delete it first"
        )
    return {Oid(line.decode()) for line in done.stdout.split() if len(line) == 40}


def _git(*args: str | Path, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run git. Raises BadInput for a configuration that it rejects: it would answer nothing."""
    done = subprocess.run(["git", *args], input=data, capture_output=True, env=git_environment())
    if done.returncode and (fault := config_fault(done.stderr.decode(errors="replace"))):
        raise BadInput(fault)
    return done


def _last_line(err: bytes) -> str:
    lines = err.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"


def _borrows(folder: Path, git_dir: Path) -> bool:
    done = _git("-C", folder, "rev-parse", "--git-path", "objects/info/alternates")
    alternates = folder / done.stdout.decode().strip()
    if done.returncode or not alternates.is_file():
        return False
    objects = (git_dir / "objects").resolve()
    return any(Path(line).resolve() == objects for line in alternates.read_text().splitlines())


def _unfinished(git_dir: Path) -> Iterator[Path]:
    folder = git_dir / "objects" / "pack"
    for path in folder.iterdir():
        lone = path.suffix == ".pack" and not path.with_suffix(".idx").exists()
        if lone or path.name.startswith("tmp_"):
            yield path


def free(path: Path, what: str, dry_run: bool) -> Freed:
    """Delete a file or a folder, but in a dry run; say what and how large it was."""
    size = sum(each.lstat().st_size for each in (path, *path.rglob("*")) if not each.is_dir())
    if not dry_run:
        if path.is_dir():
            # Renamed first: nobody may take half a repository for a whole one.
            gone = path if path.name.endswith(".gone") else path.with_name(f".{path.name}.gone")
            if gone != path:
                shutil.rmtree(gone, ignore_errors=True)
                path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return Freed(what, path, size)
