"""A point of a recipe as a job: which files it runs on, within which limits."""

from __future__ import annotations

from porter.verify.facts import RunFacts
from porter.verify.planned import Planned
from porter.verify.points import Point
from porter.verify.run import Failure, Job
from porter.verify.trees import Trees

_SHAKEN_PATIENCE = 5
"""A shaken run's kernels are slow ones."""


def job_of(planned: Planned, point: Point, facts: RunFacts, trees: Trees) -> Job | Failure:
    """Return what a run needs to start; a failure when the tree lacks a source root."""
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
