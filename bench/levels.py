"""Measure the speed of levels as ratios to floors, all in one run.

    python bench/levels.py [--quick]

Floors. *hash-only*: the smallest in-process applier (``bench/bare.py``): one ``git cat-file``,
hunks applied at their stated lines without checks of names, modes, headers or context, and every
tree hashed. *known*: even less, the objects are known beforehand and only read and hashed. *one
pack*: the known objects compressed and stored through one ``git index-pack``. *git am*: the series
on a disk checkout, not counting the checkout itself.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bare import bare_trees

from porter.git.objects import Oid
from porter.git.odb import Odb, encode_pack
from porter.levels.build import Builder
from porter.levels.levels import build_levels, recall_levels, remember_levels
from porter.series.series import Series, load_series

HEADER = """From: Ada Porter <ada@example.org>
Date: Thu, 7 Dec 2023 12:00:00 +0000
Subject: [PATCH] Change number {number}

A word on why.

Level: change-{number}
Devices: hpu
Keeps: all
Gains: some
Origin: nothing
Forwarded: not-needed
---
"""


@dataclass(frozen=True)
class Pin:
    tree: Oid


@dataclass
class Upstream:
    """A bare repository as level 0."""

    git_dir: Path
    pin: Pin
    commit: Oid

    def __post_init__(self) -> None:
        self.odb = Odb(self.git_dir)

    def present(self, oids: object) -> set[Oid]:
        return self.odb.has(oids)  # type: ignore[arg-type]

    def blobs(self, oids: object) -> dict[Oid, bytes]:
        return self.odb.read_many(oids)  # type: ignore[arg-type]


@dataclass
class Case:
    """A generated upstream and series. ``work`` is a checkout, ``bare`` what porter reads."""

    folder: Path
    files: int
    patches: int

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def bare(self) -> Path:
        return self.folder / "bare.git"

    def git(self, *args: str, folder: Path | None = None, data: bytes = b"") -> bytes:
        env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | {
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{
                f"GIT_{role}_{key}": value
                for role in ("AUTHOR", "COMMITTER")
                for key, value in (("NAME", "Ada Porter"), ("EMAIL", "ada@example.org"))
            },
        }
        command = ["git", *args]
        cwd = folder or self.work
        return subprocess.run(command, cwd=cwd, env=env, input=data, check=True,
                              capture_output=True).stdout  # fmt: skip

    def make(self) -> tuple[Upstream, Series]:
        random.seed(1)
        self.work.mkdir(parents=True)
        self.git("init", "-q")
        self.git("config", "gc.auto", "0")
        names = [f"p{n % 8}/q{n % 40}/f{n}.py" for n in range(self.files)]
        for name in names:
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"line {n} of {name}: {random.random()}\n" for n in range(200)))
        self.git("add", "-A")
        self.git("commit", "-qm", "upstream")
        base = self.git("rev-parse", "HEAD").decode().strip()
        tree = self.git("rev-parse", "HEAD^{tree}").decode().strip()
        self.git("repack", "-adq")
        self.git("clone", "-q", "--bare", str(self.work), str(self.bare))
        self._write_patches(names)
        self.git("checkout", "-q", "--detach", base)
        series = load_series(self.folder, "bench")
        return Upstream(self.bare, Pin(Oid(tree)), Oid(base)), series

    def _write_patches(self, names: list[str]) -> None:
        folder = self.folder / "patches" / "bench"
        folder.mkdir(parents=True)
        for number in range(1, self.patches + 1):
            for name in random.sample(names, 3):
                path = self.work / name
                lines = path.read_text().splitlines(keepends=True)
                for at in random.sample(range(len(lines)), 3):
                    lines[at] = f"changed by {number}: {random.random()}\n"
                path.write_text("".join(lines))
            diff = self.git("diff", "--full-index", "--binary")
            self.git("commit", "-qam", str(number))
            path = folder / f"{number:04}-change-{number}.patch"
            path.write_bytes(HEADER.format(number=number).encode() + diff)
            with (folder / "series").open("a") as series:
                series.write(path.name + "\n")


def timed(repeats: int, *runs: Callable[[], object]) -> list[float]:
    """Return the least milliseconds of each, in turns, so that load affects all alike."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, into in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            into.append((time.perf_counter() - start) * 1000)
    return [min(into) for into in times]


@dataclass
class Floor:
    """The series' objects, known beforehand: those to read, and those to hash and store."""

    bare: Path
    reads: list[Oid]
    objects: list[tuple[str, bytes]]

    def hash_only(self) -> list[Oid]:
        command = ["git", f"--git-dir={self.bare}", "cat-file", "--batch"]
        asked = "".join(f"{oid}\n" for oid in self.reads).encode()
        subprocess.run(command, input=asked, stdout=subprocess.PIPE, check=True)
        return [
            Oid(hashlib.sha1(b"%s %d\0" % (kind.encode(), len(body)) + body).hexdigest())
            for kind, body in self.objects
        ]

    def one_pack(self, target: Path) -> None:
        self.hash_only()
        pack = encode_pack(self.objects)
        command = ["git", f"--git-dir={target}", "index-pack", "--stdin"]
        subprocess.run(command, input=pack, stdout=subprocess.DEVNULL, check=True)


def floor_of(upstream: Upstream, series: Series) -> Floor:
    with Builder(upstream) as builder:
        steps = builder.run(series.patches)
        objects = [("blob", body) for body in builder.blobs.made.values()]
        objects += [("tree", body) for body in builder.tree.fresh.values()]
        objects += [("commit", b"tree %s\n" % s.tree.encode() + b"x" * 400) for s in steps]
        reads = [*builder.read_trees, *(o for o, b in builder.blobs.read.items() if b)]
    return Floor(upstream.git_dir, reads, objects)


def ids(upstream: Upstream, folder: Path) -> list[str]:
    levels = build_levels(upstream, load_series(folder, "bench"), memo=False)
    upstream.odb.close()
    return [level.tree for level in levels]


def stored(case: Case, upstream: Upstream, number: list[int]) -> None:
    """Build and write into a store that borrows the upstream's objects and has no level."""
    fresh = Upstream(new_store(case, number), upstream.pin, upstream.commit)
    series = load_series(case.folder, "bench")
    build_levels(fresh, series, memo=False, write=True)
    fresh.odb.close()


def new_store(case: Case, number: list[int]) -> Path:
    number[0] += 1
    return case.folder / f"store-{number[0]}.git"


def git_am(case: Case, base: Oid) -> float:
    patches = sorted((case.folder / "patches" / "bench").glob("*.patch"))
    case.git("checkout", "-qf", "--detach", base)
    start = time.perf_counter()
    case.git("am", "-q", *map(str, patches))
    return (time.perf_counter() - start) * 1000


def measure(case: Case, repeats: int) -> dict[str, float]:
    """Return all times of one case, in milliseconds."""
    upstream, series = case.make()
    floor = floor_of(upstream, series)
    counter, of_floor = [0], [0]
    for n in range(1, 2 * repeats + 2):  # empty stores, made beforehand
        store = case.folder / f"store-{n}.git"
        case.git("init", "-q", "--bare", str(store), folder=case.folder)
        (store / "objects" / "info" / "alternates").write_text(f"{case.bare / 'objects'}\n")
    of_floor[0] = repeats

    def bare() -> list[str]:
        return bare_trees(case.bare, upstream.pin.tree, case.folder / "patches" / "bench")

    assert bare() == ids(upstream, case.folder)
    own_ids, hash_only, known, own_stored, one_pack = timed(
        repeats,
        lambda: ids(upstream, case.folder),
        bare,
        floor.hash_only,
        lambda: stored(case, upstream, counter),
        lambda: floor.one_pack(new_store(case, of_floor)),
    )
    with Builder(upstream) as builder:
        remember_levels(builder.run(series.patches))
    upstream.odb.close()

    def recall() -> None:
        known = recall_levels(upstream.pin.tree, upstream.commit, load_series(case.folder, "bench"))
        assert known is not None

    (memo,) = timed(repeats, recall)
    am = min(git_am(case, upstream.commit) for _ in range(4))
    names = ("ids", "hash-only", "known", "stored", "one pack", "memo", "git am")
    times = (own_ids, hash_only, known, own_stored, one_pack, memo, am)
    return dict(zip(names, times, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="800 files and 20 patches only")
    parser.add_argument("--folder", help="where to work (default: the temporary folder)")
    args = parser.parse_args()
    cases = [(800, 20)] if args.quick else [(800, 20), (8000, 20), (800, 200), (8000, 200)]
    print("files patches |   ids  floor ratio  known | stored   pack ratio | memo | git am  ratio")
    failed = False
    for files, patches in cases:
        folder = Path(tempfile.mkdtemp(prefix="porter-bench-", dir=args.folder))
        os.environ["PORTER_CACHE"] = str(folder / "cache")
        try:
            ms = measure(Case(folder, files, patches), 40 if patches < 100 else 9)
        finally:
            shutil.rmtree(folder)
        ids_ratio, pack_ratio = ms["ids"] / ms["hash-only"], ms["stored"] / ms["one pack"]
        am_ratio = ms["git am"] / ms["ids"]
        columns = (
            f"{files:5} {patches:7}",
            f"{ms['ids']:5.1f} {ms['hash-only']:6.1f} {ids_ratio:4.1f}x {ms['known']:6.1f}",
            f"{ms['stored']:6.1f} {ms['one pack']:6.1f} {pack_ratio:4.1f}x",
            f"{ms['memo']:4.1f}",
            f"{ms['git am']:6.0f} {am_ratio:5.1f}x",
        )
        print(" | ".join(columns), flush=True)
        if (files, patches) == (800, 20):
            failed = ids_ratio > 2 or pack_ratio > 2 or am_ratio < 5
    print("wanted at 800 files and 20 patches: ids <= 2x, stored <= 2x, git am >= 5x; all in ms")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
