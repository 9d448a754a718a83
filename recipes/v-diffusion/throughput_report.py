"""What the scripts report of their throughput, on the standard output and as JSON."""

from __future__ import annotations

import json
from typing import Any

from small_parts import picture, small_parts

from porter.verify.probe import Probe, ProbeError


def run(probe: Probe) -> None:
    """Count the batches in each report, those that are the first of their size, and the images."""
    image = picture(probe, probe.scratch / "image.png")
    cases = {
        "cfg": ["cfg_sample.py", "-n", "5", "-bs", "2", "--steps", "1"],
        "clip": ["clip_sample.py", "a tower", "-n", "2", "--steps", "1", "--cutn", "1"],
        "modify": ["cfg_modify_image.py", image, "--steps", "1", "--method", "ddim"],
    }
    with small_parts(probe, probe.parameters["factor"], probe.parameters["size"]):
        for name, (script, *words) in cases.items():
            done = probe.script(script, [*words, "--json"], cwd=name)
            told = json.loads(done.stdout.splitlines()[-1])
            if name == "modify":
                again = probe.script(script, [*words, "--json", "report.json"], cwd=name)
                kept = json.loads((again.folder / "report.json").read_text())
                if kept.keys() != told.keys():
                    raise ProbeError(f"{script}: --json has other keys in a file: {sorted(kept)}")
            batches = told["batches"]
            warm = [batch for batch in batches if not batch["first_of_size"]]
            if told["images_per_second"] != (rate(warm) if warm else None):
                raise ProbeError(f"{script}: {told['images_per_second']} images/s, but {batches}")
            probe.count(f"{name}/images", told["images"])
            probe.count(f"{name}/batches", len(batches))
            probe.count(f"{name}/first_of_size", len(batches) - len(warm))
            lines = [line for line in done.stdout.splitlines() if "images/s" in line]
            probe.count(f"{name}/lines", len(lines))


def rate(batches: list[dict[str, Any]]) -> float:
    """Images a second of all these batches."""
    images = sum(batch["images"] for batch in batches)
    return float(images / sum(batch["seconds"] for batch in batches))
