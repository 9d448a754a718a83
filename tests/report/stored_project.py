"""A small project whose runs were stored, without running anything."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from typing import Any

import torch

from porter.cli import main
from porter.report.html_report.gather import ImportedVerdicts, Results, gather
from porter.upstream.pins import load_pins
from porter.verify.cache.keys import environ_of, probe_hash
from porter.verify.foreign.files import open_files
from porter.verify.foreign.plan import plan_foreign
from porter.verify.foreign.trees import ForeignTrees
from porter.verify.harness import trace
from porter.verify.harness.run_info import RunFacts
from porter.verify.plan.matrix import RecipePlan, RunSpec, judged_specs, run_specs
from porter.verify.plan.port_trees import open_trees
from porter.verify.plan.select import Filters, make_plan
from porter.verify.plan.trees import SeriesTrees
from tests.small_port import SmallPort, changed, make_small_port

RECIPE = """\
devices: [cpu, "sim:hpu"]
claims:
  - outputs: "*"
    parity: {}
  - counters: compilations
    devices: ["sim:hpu"]
    at_most: 3
"""


@dataclass
class StoredProject:
    """Levels upstream, one, two; ``runs`` overrides what a run at (level, device) left."""

    port: SmallPort
    cache: Path
    title: str = "a forward pass"
    recipe: str = RECIPE
    runs: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    skipped: set[tuple[int, str]] = field(default_factory=set)

    def plan(self) -> RecipePlan:
        trees = SeriesTrees(self.port.root, load_pins(self.port.root))
        (planned,) = make_plan(self.port.root, [], trees, Filters()).recipes
        return planned

    def store(self) -> None:
        """Write the recipe and a trace for every run it wants."""
        path = self.port.add_recipe("one", self.recipe)
        title = f"title: {json.dumps(self.title)}"
        path.write_text(path.read_text().replace("title: one", title))
        planned = self.plan()
        for spec in run_specs(planned):
            if (spec.level, spec.device) not in self.skipped:
                self._store(planned, spec)

    def store_tree(self, tree: Path) -> None:
        """Write a trace for every run on a foreign tree; ``runs`` names it by the level above."""
        with open_trees(self.port.root) as own:
            trees = ForeignTrees(own, "small", open_files(str(tree), Path()))
            (planned,) = plan_foreign(self.port.root, trees, Filters(), None).plan.recipes
        for spec in judged_specs(planned):
            if (spec.level, spec.device) not in self.skipped:
                self._store(planned, spec)

    def _store(self, planned: RecipePlan, spec: RunSpec) -> None:
        given = self.runs.get((spec.level, spec.device), {})
        simulated = spec.device.startswith("sim:")
        loaded = planned.loaded
        facts = RunFacts(
            port="small", recipe="one", recipe_sha256=loaded.sha256,
            inputs_sha256=loaded.inputs_sha256(), probe_sha256=probe_hash(loaded),
            level=spec.level, level_name=planned.levels[spec.level].name,
            tree=planned.levels[spec.level].tree, companions={}, dtype=spec.dtype,
            device=spec.device, seed=spec.seed, threads=1, environment="e", engine="f",
            variant=dict(spec.variant), environ=environ_of(loaded, spec), shaken=spec.shaken,
        )  # fmt: skip
        outputs = given.get("outputs") or {"image": picture(spec.dtype)}
        counters = {"compilations": 2, "kernels": 40 - spec.level} if simulated else {}
        key = sha1(repr((spec, facts.tree)).encode()).hexdigest()
        folder = self.cache / "traces" / "small" / "one" / key
        folder.mkdir(parents=True)
        trace.write(
            folder,
            trace.Trace(
                facts=facts,
                versions={"torch": torch.__version__},
                counters=counters | given.get("counters", {}),
                seconds=1.5,
                peak_bytes=2**20,
                outputs=outputs,
                device_title="simulated Intel Gaudi" if simulated else "CPU",
            ),
        )
        for name in ("events", "migration"):
            lines = [json.dumps(line) for line in given.get(name, ())]
            if lines:
                (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")

    def gather(self, imported: ImportedVerdicts | None = None) -> Results:
        return gather(self.port.root, self.cache, imported=imported)


def picture(dtype: str, shift: float = 0.0) -> torch.Tensor:
    """An image of 3 x 16 x 20 in [0, 1]; ``shift`` makes one corner differ."""
    image = torch.linspace(0, 0.9, 3 * 16 * 20, dtype=torch.float64).reshape(3, 16, 20)
    image = image.to(getattr(torch, dtype))
    image[:, :4, :4] += shift
    return image


def make_stored_project(folder: Path) -> StoredProject:
    """Make the project; ``store`` it after what should differ is set."""
    port = make_small_port(folder)
    port.add_patch("one", changed("a.py", 5))
    port.add_patch("two", changed("a.py", 6))
    return StoredProject(port, folder / "cache")


def lock(monkeypatch: Any, project: StoredProject) -> None:
    """Write the port's lock, from which levels' trees are known."""
    monkeypatch.setenv("PORTER_ROOT", str(project.port.root))
    assert main(["lock", "small"]) == 0
