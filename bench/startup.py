"""Start-up of the patch half, as ratios to importing what a rich-based tool would import.

    python bench/startup.py

Each figure is the best of several runs, all in one process tree on one machine. Exit code 1 when a
bound does not hold: `--help` under 2x, `list` under 4x.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = "import rich.console, rich.table, rich.progress"
RUNS = 15


def seconds(commands: dict[str, list[str]]) -> dict[str, float]:
    """Return the best time of each command, measured in turns, so that load affects all alike."""
    best = dict.fromkeys(commands, float("inf"))
    with tempfile.TemporaryDirectory() as pyc:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": pyc}  # as installed: byte-compiled
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(RUNS):
            for name, command in commands.items():
                start = time.perf_counter()
                subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> int:
    porter = [sys.executable, "-m", "porter"]
    took = seconds(
        {
            "python": [sys.executable, "-c", "pass"],
            "rich": [sys.executable, "-c", BASE],
            "--help": [*porter, "--help"],
            "list": [*porter, "list"],
            "log": [*porter, "log", "diffusers"],
        }
    )
    print(f"python -c pass                 {took['python'] * 1000:6.1f} ms")
    print(f'python -c "{BASE[:24]}.."   {took["rich"] * 1000:6.1f} ms  (the unit)')
    failed = False
    for name, bound in (("--help", 2.0), ("list", 4.0), ("log", 4.0)):
        ratio = took[name] / took["rich"]
        failed = failed or ratio >= bound
        print(f"porter {name:<23} {took[name] * 1000:6.1f} ms  {ratio:4.2f}x  (bound {bound:.0f}x)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
