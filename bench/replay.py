"""Replay real history: each commit's diff, applied to its parent's tree, must give its tree.

    python bench/replay.py REPOSITORY [--commits N]

The history itself is the reference, so the check does not rely on git's ``apply``. Prints how many
diffs the strict applier handled and why the others went to git.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from porter.git.objects import Oid
from porter.git.odb import Odb
from porter.levels.build import Builder
from porter.levels.rediff import EXPORT_OPTIONS
from porter.series.series import Patch, read_patch


@dataclass(frozen=True)
class Pin:
    tree: Oid


@dataclass
class Upstream:
    git_dir: Path
    pin: Pin
    odb: Odb
    commit: Oid = field(default=Oid("0" * 40))

    def present(self, oids: object) -> set[Oid]:
        return self.odb.has(oids)  # type: ignore[arg-type]

    def blobs(self, oids: object) -> dict[Oid, bytes]:
        return self.odb.read_many(oids)  # type: ignore[arg-type]


def git(repository: Path, *args: str) -> bytes:
    command = ["git", "-C", str(repository), *args]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def history(repository: Path, count: int) -> list[tuple[Oid, Oid, Oid]]:
    """(parent's tree, commit, its tree) of the newest commits with one parent, oldest first."""
    lines = git(repository, "log", "--no-merges", f"-{count}", "--format=%H %T %P", "HEAD")
    rows = [line.split() for line in lines.decode().splitlines()]
    parents = [row[2] for row in rows if len(row) == 3]
    asked = "".join(f"{parent}^{{tree}}\n" for parent in parents).encode()
    command = ["git", "-C", str(repository), "cat-file", "--batch-check=%(objectname)"]
    answer = subprocess.run(command, input=asked, check=True, stdout=subprocess.PIPE).stdout
    trees = answer.decode().split("\n")
    found = zip(trees, (row for row in rows if len(row) == 3), strict=False)
    return [(Oid(tree), Oid(row[0]), Oid(row[1])) for tree, row in found][::-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--commits", type=int, default=600)
    args = parser.parse_args()
    git_dir = Path(git(args.repository, "rev-parse", "--absolute-git-dir").decode().strip())
    odb = Odb(git_dir)
    told: Counter[str] = Counter()
    wrong = 0
    spent = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for before, commit, after in history(args.repository, args.commits):
            try:
                raw = git(git_dir, "diff-tree", *EXPORT_OPTIONS, before, after)
            except subprocess.CalledProcessError:
                told["skipped: the copy lacks a blob"] += 1
                continue
            path = Path(folder) / "case.patch"
            path.write_bytes(raw)
            if not raw:
                continue
            start = time.perf_counter()
            by, tree = build(Upstream(git_dir, Pin(before), odb), read_patch(path))
            spent += time.perf_counter() - start
            told[by] += 1
            if tree != after:
                wrong += 1
                print(f"{commit}: expected tree {after}, found {tree} ({by})")
    odb.close()
    for by, number in told.most_common():
        print(f"{number:6} {by}")
    print(f"{wrong} wrong, {spent * 1000 / max(sum(told.values()), 1):.1f} ms a commit")
    return int(wrong > 0)


def build(upstream: Upstream, patch: Patch) -> tuple[str, Oid | None]:
    with Builder(upstream) as builder:
        (step,) = builder.run([patch])
    why = f": {step.why_git.rpartition(': ')[2]}" if step.by != "strict" else ""
    return step.by + why, None if step.failures else step.tree


if __name__ == "__main__":
    sys.exit(main())
