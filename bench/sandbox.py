"""Measure what the sandbox costs: the same recipe with it and without, in turns.

    python bench/sandbox.py PORT RECIPE [--rounds N]

Every run is made anew (`porter verify --fresh`) after one that builds environment and trees. Prints
medians of seconds and of processor time (of porter and all that it started), their ratios, and the
share of a run; a busy machine disturbs the seconds and hardly the processor time.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODES = ("off", "require")


@dataclass(frozen=True)
class Cost:
    seconds: float
    processor: float
    runs: int


def verify(port: str, recipe: str, mode: str) -> Cost:
    command = [sys.executable, "-m", "porter", "verify", port, "--recipe", recipe]
    command += ["--fresh", "--jobs", "1", "--sandbox", mode]
    before, began = os.times(), time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    after, seconds = os.times(), time.monotonic() - began
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr or done.stdout}")
    runs = sum(int(number) for number in re.findall(r"\((\d+) runs?, ", done.stdout))
    processor = after.children_user - before.children_user
    processor += after.children_system - before.children_system
    return Cost(seconds, processor, runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port")
    parser.add_argument("recipe")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    verify(args.port, args.recipe, "off")
    found: dict[str, list[Cost]] = {mode: [] for mode in MODES}
    for number in range(args.rounds):
        for mode in MODES if number % 2 else MODES[::-1]:
            found[mode].append(verify(args.port, args.recipe, mode))
    runs = found["off"][0].runs
    print(f"{args.port}/{args.recipe}: {runs} runs, {args.rounds} rounds in turns")
    for what in ("seconds", "processor"):
        off, on = (statistics.median(getattr(c, what) for c in found[mode]) for mode in MODES)
        pairs = zip(found["off"], found["require"], strict=True)
        each = statistics.median(getattr(b, what) / getattr(a, what) for a, b in pairs)
        print(
            f"{what:9}  without {off:.3f} s, with {on:.3f} s: ratio {on / off:.3f} "
            f"(median of pairs {each:.3f}), {(on - off) / runs * 1000:+.0f} ms a run"
        )


if __name__ == "__main__":
    main()
