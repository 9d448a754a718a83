"""Measure what verification costs beyond the probes, as ratios to ``import torch``, in one run.

``python bench/verify.py`` makes a project (plain folders as levels, a probe that does next to
nothing) and times

- the floor: ``python -c "import torch"``, which no run in a fresh interpreter can beat;
- a cold run, a warm run (forked from a fork server), and the one-time cost of a fork server;
- ``porter verify`` of many recipes: run for the first time, unchanged, and judged again.

Only ratios mean anything. Needs torch, no network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from porter.verify.cache.store import Places
from porter.verify.execution.run_probe import Launcher, launcher, run_folder, run_probe
from porter.verify.harness.run_info import RunFacts
from porter.verify.plan.matrix import Job
from porter.verify.plan.trees import LevelTree

PROBE = """
import torch
from upstream_code import f
def run(probe):
    probe.record("y", f(probe.normal("x", 64)))
"""
RECIPE = """
version: 1
title: bench
probe: probe.py
parameters: {number: NUMBER}
claims: [{outputs: "*", parity: {}}]
"""


@dataclass(frozen=True)
class FolderLevel:
    """A level as a plain folder."""

    number: int
    name: str
    tree: str


class FolderTrees:
    """One port, ``bench``, whose levels differ in a comment."""

    def __init__(self, base: Path, levels: int) -> None:
        self._folders = [base / f"level-{number}" for number in range(levels)]
        self._levels = []
        for number, folder in enumerate(self._folders):
            text = f"def f(x): return (x * 2).exp()  # {number}\n"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "upstream_code.py").write_text(text)
            tree = hashlib.sha1(text.encode()).hexdigest()
            name = f"level-{number}" if number else "upstream"
            self._levels.append(FolderLevel(number, name, tree))

    def levels(self, _port: str) -> Sequence[FolderLevel]:
        return self._levels

    def find(self, _port: str, text: str) -> FolderLevel:
        return next(level for level in self._levels if text in (level.name, str(level.number)))

    def folder(self, _port: str, level: LevelTree, _needs: tuple[str, ...]) -> Path:
        return self._folders[level.number]


def write_recipes(root: Path, number: int) -> None:
    """Write a project with ``number`` recipes."""
    folder = root / "recipes" / "bench"
    folder.mkdir(parents=True)
    (root / "upstream_pins.yaml").touch()
    (folder / "probe.py").write_text(PROBE)
    for n in range(number):
        (folder / f"recipe-{n:03}.yaml").write_text(RECIPE.replace("NUMBER", str(n)))


def verify(root: Path, levels: int, arguments: list[str]) -> int:
    """Run ``porter verify`` on the project in ``root``, for this file's ``--verify``."""
    import porter.verify.plan.port_trees as real
    from porter.cli import main as porter

    @contextmanager
    def open_trees(_: Path) -> Iterator[FolderTrees]:
        yield FolderTrees(root / "trees", levels)

    real.open_trees = open_trees  # type: ignore[assignment]
    return porter(["--root", str(root), "verify", *arguments])


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def against_floor(action: Callable[[], object]) -> float:
    """Return the time of something as a ratio to the floor's, taken just before and just after."""
    before = timed(FLOOR)
    own = timed(action)
    return 2 * own / (before + timed(FLOOR))


def command(*words: str) -> Callable[[], None]:
    """Return what runs a command of this interpreter and expects it to succeed."""

    def call() -> None:
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)

    return call


FLOOR = command("-c", "import torch")


def single_runs(base: Path, rounds: int) -> dict[str, float]:
    """Time runs of one probe, cold and warm in turns; ratios to the floor."""
    trees = FolderTrees(base / "trees", 1)
    probe = base / "probe.py"
    probe.write_text(PROBE)
    names = ("port", "recipe", "recipe_sha256", "inputs_sha256", "probe_sha256", "level_name")
    facts = RunFacts(
        **dict.fromkeys((*names, "tree", "environment", "engine"), "bench"),
        level=0,
        companions={},
        dtype="float32",
        device="cpu",
        seed=0,
        threads=1,
    )
    tree = trees.folder("bench", trees.levels("bench")[0], ())
    job = Job(facts, probe, {}, tree, (tree,), {}, 300, 4 * 2**30)

    def run(start: Launcher) -> Callable[[], None]:
        def once() -> None:
            with run_folder(base / "runs") as folder:
                outcome = run_probe(job, Path(sys.executable), folder, start)
                if not isinstance(outcome, Path):
                    raise SystemExit(f"the probe failed: {outcome.reason}\n{outcome.stderr}")

        return once

    ratios: dict[str, list[float]] = {"a cold run": [], "a warm run": []}
    with launcher(base / "runs", warm=False) as cold, launcher(base / "runs", warm=True) as warm:
        first = against_floor(run(warm))
        if warm.warm.refusals() or not warm.warm.enabled:
            raise SystemExit(f"no warm start here: {warm.warm.refusals() or 'not on this system'}")
        for _ in range(rounds):
            ratios["a cold run"].append(against_floor(run(cold)))
            ratios["a warm run"].append(against_floor(run(warm)))
    found = {name: statistics.median(each) for name, each in ratios.items()}
    return found | {"the first warm run, with its fork server": first}


def whole_verifications(base: Path, recipes: int, levels: int, rounds: int) -> dict[str, float]:
    """Time ``porter verify`` of many recipes, each in a process of its own; ratios to the floor."""
    write_recipes(base, recipes)
    os.environ["PORTER_CACHE"] = str(base / "cache")
    words = (__file__, "--verify", str(base), str(levels))
    timed(command(*words, "--recipe", "recipe-000"))  # builds the environment
    made = against_floor(command(*words, "--fresh"))
    unchanged = statistics.median(against_floor(command(*words)) for _ in range(rounds))
    for path in Places.under(base / "cache").verdicts.rglob("*.json"):
        path.unlink()
    judged = against_floor(command(*words))
    return {"made": made, "unchanged": unchanged, "judged anew": judged}


def main() -> int:
    """Measure, and print ratios (or JSON)."""
    if sys.argv[1:2] == ["--verify"]:
        return verify(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--recipes", type=int, default=40)
    parser.add_argument("--levels", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        single = single_runs(Path(folder) / "single", args.rounds)
        whole = whole_verifications(Path(folder) / "whole", args.recipes, args.levels, args.rounds)
    runs = args.recipes * (args.levels + 1)
    cores = len(os.sched_getaffinity(0))
    if args.json:
        print(json.dumps({"runs": runs, "cores": cores, "ratios": single | whole}, indent=1))
        return 0
    print("ratios to `import torch` in a fresh interpreter, taken beside each:")
    for name, ratio in single.items():
        print(f"  {name:<38} {ratio:6.2f}")
    print(f"porter verify, {args.recipes} recipes of {runs} runs, {cores} cores:")
    for name, ratio in whole.items():
        print(f"  {name:<38} {ratio:6.2f}  ({ratio / runs:.3f} a run)")
    print(f"warm against cold: {single['a cold run'] / single['a warm run']:.1f} times as fast")
    print(f"unchanged against made: {whole['made'] / whole['unchanged']:.0f} times as fast")
    return 0


if __name__ == "__main__":
    sys.exit(main())
