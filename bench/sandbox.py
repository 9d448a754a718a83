"""Measure what the sandbox costs a run, and what share of a recipe that is.

    python bench/sandbox.py [--times N] [PORT RECIPE]

A forked process enters the namespaces that a run of a small recipe gets, and says how much
processor time and how many seconds that took; medians of N. Then the recipe is verified anew in the
sandbox, and the time of its runs' sandboxes is divided by that of the whole. Comparing whole
verifications with and without it says nothing on a busy machine: the difference is below the noise.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from porter.verify.execution.run_probe import run_folder
from porter.verify.execution.sandbox import find_sandbox
from porter.verify.harness import sandbox as harness
from tests.verify.single_run import job_for

ROOT = Path(__file__).resolve().parent.parent


def entered(times: int) -> list[tuple[float, float]]:
    """Return the processor time and the seconds of each entry."""
    found, held = [], find_sandbox("require")
    with tempfile.TemporaryDirectory() as base:
        job = job_for(Path(base, "job"), "")
        for _ in range(times):
            with run_folder(Path(base, "cache", "runs")) as folder:
                spec = held.spec(job, Path(sys.executable), folder)
                assert spec is not None, "runs are held by bubblewrap here"
                read, write = os.pipe()
                pid = os.fork()
                if pid == 0:
                    os.chdir(folder)
                    began, used = time.perf_counter(), time.process_time()
                    harness.enter(spec)
                    row = time.process_time() - used, time.perf_counter() - began
                    os.write(write, " ".join(map(str, row)).encode())
                    os._exit(0)
                os.close(write)
                with os.fdopen(read) as pipe:
                    used, seconds = map(float, pipe.read().split())
                os.waitpid(pid, 0)
                found.append((used, seconds))
    return found


def verified(port: str, recipe: str) -> tuple[int, float, float]:
    """Verify a recipe anew; return its number of runs, processor time and seconds."""
    command = [sys.executable, "-m", "porter", "verify", port, "--recipe", recipe]
    command += ["--fresh", "--jobs", "1", "--sandbox", "require"]
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    after, seconds = os.times(), time.perf_counter() - began
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr or done.stdout}")
    runs = sum(int(number) for number in re.findall(r"\((\d+) runs?, ", done.stdout))
    used = sum(after[2:4]) - sum(before[2:4])
    return runs, used, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", nargs="?")
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--times", type=int, default=50)
    args = parser.parse_args()
    rows = entered(args.times)
    used, seconds = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"to enter the sandbox: {used * 1000:.1f} ms of processor time, {seconds * 1000:.1f} ms")
    if args.recipe:
        runs, whole, long = verified(args.port, args.recipe)
        share = runs * used / whole
        print(
            f"{args.port}/{args.recipe}: {runs} runs, {whole:.1f} s of processor time, {long:.1f} s"
        )
        print(f"the sandbox is {share:.2%} of that processor time")


if __name__ == "__main__":
    main()
