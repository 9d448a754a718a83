"""Measure how planning, unchanged verification, check, list and reports grow with the ports.

    python bench/scale.py [--ports 4 20 100] [--levels 20] [--upstreams 4]

makes a project of so many ports. Each has that many levels and one recipe with a probe that does
next to nothing, on the CPU and two simulated devices: 100 ports of 20 levels make 6,300 runs.
Ports share ``--upstreams`` different upstreams and one series, so that only their runs are made
(traces are kept by content); every run is planned, looked up and judged for its own port.

Times are CPU seconds (user and system) of a whole process and the gits that it starts, the median
of ``--rounds``, so that other work on the machine changes them little; ``wall`` is the time that an
unchanged verification takes to its end. The floor is ``porter --version``, a process that does
nothing; ``ms a run`` is what an unchanged verification takes beyond it. ``page`` is the time in
which headless Chromium loads the report's index and its largest page, less an empty page's; without
Chromium it is left out. Needs torch and git, no network.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.small_project import make_upstream, publish, sealed_git, write_series

MODEL = (
    "import torch\nfrom scale import FACTOR\n\ndef model(x):\n    return torch.tanh(x) * FACTOR\n"
)
PROBE = """\
import torch
from model import model

def run(probe):
    probe.record("y", model(probe.normal("x", 64).to(probe.device)))
"""
RECIPE = """\
version: 1
title: a small function on every device
probe: probe.py
devices: [cpu, "sim:hpu", "sim:npu"]
levels: {from: level-1}
dtypes: [float32]
claims: [{outputs: "*", parity: {ulps: 16, reason: "one multiplication"}}]
"""


def make_project(folder: Path, ports: int, levels: int, upstreams: int) -> Path:
    """Write a project of ``ports`` ports to a new folder; return its root."""
    root = folder / "project"
    root.mkdir(parents=True)
    pins = []
    for number in range(upstreams):
        files = {"model.py": MODEL, "scale.py": f"FACTOR = {number + 1}.5\n"}
        work = make_upstream(folder / "upstreams", f"u{number}", files)
        publish(folder / "upstreams", f"u{number}", work)
        commit, tree = sealed_git(work, "rev-parse", "HEAD", "HEAD^{tree}").split()
        pins.append(f"commit: {commit}\n    tree: {tree}\n    license: MIT\n")
    steps = [
        (f"level-{n}", f"Change number {n}", {f"changes/{n}.py": f"number = {n}\n"})
        for n in range(1, levels + 1)
    ]
    write_series(root, "p000", folder / "upstreams" / "u0", steps)  # type: ignore[arg-type]
    text = "version: 1\npins:\n"
    for number in range(ports):
        name, upstream = f"p{number:03d}", number % upstreams
        url = f"file://{folder}/upstreams/u{upstream}.git"
        text += f"  {name}:\n    url: {url}\n    {pins[upstream]}"
        if number:
            shutil.copytree(root / "patches" / "p000", root / "patches" / name)
        recipes = root / "recipes" / name
        recipes.mkdir(parents=True)
        (recipes / "small.yaml").write_text(RECIPE)
        (recipes / "probe.py").write_text(PROBE)
    (root / "upstream_pins.yaml").write_text(text)
    return root


def seconds(words: list[str], root: Path) -> float:
    """Run a command in ``root`` to its end; return the seconds that it took."""
    began = time.perf_counter()
    done = subprocess.run(words, cwd=root, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return time.perf_counter() - began


def cpu_seconds(words: list[str], root: Path) -> tuple[float, float]:
    """Run a command in ``root``; return the CPU seconds of all its processes, and its seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = seconds(words, root)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def loaded(page: Path) -> float:
    """Return the seconds in which headless Chromium loads a page, less an empty one's."""

    def one(address: str) -> float:
        words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", address]
        return seconds(words, page.parent)

    empty = statistics.median(one("about:blank") for _ in range(3))
    return statistics.median(one(page.as_uri()) for _ in range(3)) - empty


def measure(folder: Path, ports: int, args: argparse.Namespace) -> dict[str, float]:
    """Return the CPU seconds of each command on a project of ``ports`` ports."""
    root = make_project(folder, ports, args.levels, min(args.upstreams, ports))
    porter = [sys.executable, "-m", "porter"]

    def medians(*words: str) -> tuple[float, float]:
        spent = [cpu_seconds([*porter, *words], root) for _ in range(args.rounds)]
        cpu, wall = zip(*spent, strict=True)
        return statistics.median(cpu), statistics.median(wall)

    seconds([*porter, "lock", *(path.name for path in (root / "patches").iterdir())], root)
    seconds([*porter, "verify"], root)
    found = {"floor": medians("--version")[0]}
    found["list"] = medians("list")[0]
    found["check"] = medians("check")[0]
    found["planning"] = medians("matrix")[0]
    found["unchanged"], found["wall"] = medians("verify")
    found["report"] = medians("report", "-o", "report/")[0]
    pages = sorted((root / "report").rglob("*.html"), key=lambda path: path.stat().st_size)
    found["MB"] = sum(path.stat().st_size for path in pages) / 1e6
    if shutil.which("chromium"):
        found["page"] = max(loaded(root / "report" / "index.html"), loaded(pages[-1]))
    return found


def main() -> None:
    """Measure each number of ports; print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ports", type=int, nargs="+", default=[4, 20, 100])
    parser.add_argument("--levels", type=int, default=20)
    parser.add_argument("--upstreams", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    columns = ("list", "check", "planning", "unchanged", "wall", "report", "MB", "page")
    print(f"{args.levels} levels, 3 devices, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("ports   runs  " + "".join(f"{name:>10}" for name in columns) + "  ms a run  floor")
    for ports in args.ports:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["PORTER_CACHE"] = str(Path(folder) / "cache")
            found = measure(Path(folder), ports, args)
        runs = ports * 3 * (args.levels + 1)  # with level 0's: reference, baseline, shaken
        shown = "".join(
            f"{found[name]:10.2f}" if name in found else f"{'-':>10}" for name in columns
        )
        each = 1000 * (found["unchanged"] - found["floor"]) / runs
        print(f"{ports:5} {runs:6}  {shown}  {each:8.2f}  {found['floor']:5.2f}", flush=True)


if __name__ == "__main__":
    main()
