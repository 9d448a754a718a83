"""What the scripts report of their throughput, on the standard output and as JSON."""

from __future__ import annotations

import json
import time
from typing import Any

from small_parts import picture, small_parts

from porter.verify.probe import Probe, ProbeError


def run(probe: Probe) -> None:
    """Count the batches in each report, those that are the first of their size, and the images."""
    image = picture(probe, probe.scratch / "image.png")
    cases = {
        "cfg": ["cfg_sample.py", "-n", "5", "-bs", "2", "--steps", "1", "--json", "-"],
        "clip": ["clip_sample.py", "a tower", "-n", "2", "--steps", "1", "--cutn", "1", "--json"],
        "modify": ["cfg_modify_image.py", image, "--steps", "1", "--method", "ddim", "--json"],
    }
    reports: dict[str, dict[str, Any]] = {}
    with small_parts(probe, probe.parameters["factor"], probe.parameters["size"]):
        for name, (script, *words) in cases.items():
            with probe.attempt(name):
                reports[name] = count_report(probe, name, script, words)
        with probe.attempt("file"):
            if "modify" not in reports:
                raise ProbeError("not run: it is compared with `modify`, which failed")
            script, *words = cases["modify"]
            again = probe.script(script, [*words, "report.json"], cwd="file")
            kept = json.loads((again.folder / "report.json").read_text())
            if kept.keys() != reports["modify"].keys():
                raise ProbeError(f"{script}: --json has other keys in a file: {sorted(kept)}")
        with probe.attempt("prompt"):
            probe.script("cfg_sample.py", ["--json", "a tower"], cwd="prompt", expect=2)


def count_report(probe: Probe, name: str, script: str, words: list[Any]) -> dict[str, Any]:
    """Run a script, count what it reports on the standard output, and return it."""
    start = time.perf_counter()
    done = probe.script(script, words, cwd=name)
    elapsed = time.perf_counter() - start
    told = json.loads(done.stdout.splitlines()[-1])
    check(script, told, elapsed)
    batches = told["batches"]
    first = [batch for batch in batches if batch["first_of_size"]]
    probe.count(f"{name}/images", told["images"])
    probe.count(f"{name}/batches", len(batches))
    probe.count(f"{name}/first_of_size", len(first))
    lines = [line for line in done.stdout.splitlines() if "images/s" in line]
    probe.count(f"{name}/lines", len(lines))
    notes = [line for line in lines if line.endswith("the first of its size")]
    probe.count(f"{name}/notes", len(notes))
    return dict(told)


def check(script: str, told: dict[str, Any], elapsed: float) -> None:
    """Raise ProbeError if a report contradicts itself, or takes longer than the run it is of."""
    batches = told["batches"]
    for batch in batches:
        if not 0 < batch["seconds"] < elapsed:
            raise ProbeError(f"{script}: {batch['seconds']} s in a run of {elapsed} s")
        if batch["images_per_second"] != batch["images"] / batch["seconds"]:
            raise ProbeError(f"{script}: {batch}")
    warm = [batch for batch in batches if not batch["first_of_size"]]
    if told["images_per_second"] != (rate(warm) if warm else None):
        raise ProbeError(f"{script}: {told['images_per_second']} images/s, but {batches}")
    if told["images_per_second_with_first"] != rate(batches):
        raise ProbeError(f"{script}: {told['images_per_second_with_first']} images/s of {batches}")


def rate(batches: list[dict[str, Any]]) -> float:
    """Images a second of all these batches."""
    images = sum(batch["images"] for batch in batches)
    return float(images / sum(batch["seconds"] for batch in batches))
