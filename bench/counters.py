"""Counters of a recipe's last verification as a Markdown table: a row a level, a column a counter.

    porter verify ddpm-from-scratch --recipe counters
    python bench/counters.py ddpm-from-scratch counters --device sim:hpu sampling/ops_per_step ...

Read from the traces in the cache, so nothing is typed by hand. A cell that differs between variants
(the steps, for example) lists one figure for each, in the variants' order; a counter that a run
does not have is a dash.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from porter.places import cache_dir


def counters(folder: Path, device: str) -> dict[str, list[dict[str, float]]]:
    """Return level -> the counters of its runs on ``device``, one for each variant.

    Raises FileNotFoundError where the recipe was never judged, or a trace is gone.
    """
    judged = json.loads((folder / "judged.json").read_text())
    names = {level["number"]: level["name"] for level in judged["levels"]}
    found: dict[str, list[dict[str, float]]] = {}
    for run in sorted(judged["runs"], key=lambda run: run["point"]["level"]):
        if run["point"]["device"] == device and run["trace"]:
            trace = json.loads((folder / run["trace"] / "trace.json").read_text())
            found.setdefault(names[run["point"]["level"]], []).append(trace["counters"])
    return found


def table(runs: dict[str, list[dict[str, float]]], columns: list[str]) -> list[str]:
    """Return the lines of the Markdown table."""
    lines = ["| level | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
    for level, variants in runs.items():
        cells = []
        for column in columns:
            figures = [f"{v[column]:g}" if column in v else "-" for v in variants]
            cells.append(figures[0] if len(set(figures)) == 1 else ", ".join(figures))
        lines.append(f"| {level} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port")
    parser.add_argument("recipe")
    parser.add_argument("--device", default="sim:hpu")
    parser.add_argument("counter", nargs="+")
    asked = parser.parse_args()
    folder = cache_dir() / "traces" / asked.port / asked.recipe
    print("\n".join(table(counters(folder, asked.device), asked.counter)))


if __name__ == "__main__":
    main()
