"""The job that a run's process gets: what to run, on which files, within which limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.verify.harness.run_info import RunFacts
from porter.verify.plan.matrix import RecipePlan, RunSpec
from porter.verify.plan.trees import Trees

_SHAKEN_PATIENCE = 5
"""Factor on the time limit of a shaken run, whose kernels are slow."""


@dataclass(frozen=True)
class Job:
    """One run: what it is (``facts``), its files, its limits."""

    facts: RunFacts
    probe: Path
    parameters: Mapping[str, Any]
    tree: Path
    source_roots: tuple[Path, ...]
    companions: Mapping[str, Path]
    seconds: float
    memory_bytes: int
    activations: str = ""  # what to record: porter.verify.harness.activations; "": nothing
    lines: tuple[str, ...] = ()  # files of the tree whose executed lines to record


@dataclass(frozen=True)
class Failure:
    """Why a run left no trace, and the end of its stderr."""

    kind: str  # exception, exit, memory, time, signal, environment, device, trace, tree, stopped
    reason: str
    stderr: str


def job_of(planned: RecipePlan, point: RunSpec, facts: RunFacts, trees: Trees) -> Job | Failure:
    """Return the job of a run; a failure if the tree lacks a source root."""
    loaded, recipe = planned.loaded, planned.loaded.recipe
    tree = trees.folder(loaded.port, planned.levels[point.level], recipe.needs)
    companions = {name: trees.folder(name, other, ()) for name, other in planned.companions}
    roots = [tree / root for root in recipe.source_roots]
    roots += [f / "src" if (f / "src").is_dir() else f for f in companions.values()]
    for root in roots:
        if not root.is_dir():
            return Failure("tree", f"source root {root.relative_to(tree)} is not in the tree", "")
    return Job(
        facts=facts,
        probe=loaded.probe.resolve(),
        parameters=recipe.parameters | point.values,
        tree=tree,
        source_roots=tuple(roots),
        companions=companions,
        seconds=recipe.limits.seconds * (_SHAKEN_PATIENCE if point.shaken else 1),
        memory_bytes=int(recipe.limits.memory_gib * 2**30),
    )
