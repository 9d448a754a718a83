"""Which mutants of a port are tried on which recipes: levels, kinds, sample and equivalents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from porter.errors import BadInput
from porter.mutation.equivalents import load_equivalents
from porter.mutation.mutants import Mutant, level_mutants, sample
from porter.places import recipes_dir
from porter.verify.plan.matrix import RecipePlan
from porter.verify.plan.port_trees import UpstreamTrees
from porter.verify.plan.select import Filters, make_plan


@dataclass(frozen=True)
class MutantFilters:
    """Which mutants are wanted: of these levels and kinds (none: all), at most ``sample``."""

    levels: Sequence[str] = ()
    kinds: Sequence[str] = ()
    sample: int | None = None


@dataclass(frozen=True)
class MutationPlan:
    """The mutants of one port and the recipes to try them on.

    ``possible`` is the number of mutants before sampling, ``equivalent`` the reason by the key of
    those that are listed as no mistake. ``files`` are, by level number, the paths that any mutant
    of the port changes, in this plan or not: the lines that a run executes of them are found once.
    """

    port: str
    recipes: tuple[RecipePlan, ...]
    mutants: tuple[Mutant, ...]
    possible: int
    equivalent: Mapping[str, str]
    files: Mapping[int, Sequence[str]]

    @property
    def to_try(self) -> list[Mutant]:
        """The mutants that are mistakes."""
        return [mutant for mutant in self.mutants if mutant.key not in self.equivalent]


def plan_mutants(
    root: Path, port: str, trees: UpstreamTrees, recipes: Filters, mutants: MutantFilters
) -> MutationPlan:
    """Choose recipes and mutants.

    Raises BadInput when none are left, or when the list of equivalents names no mutant.
    """
    plan = make_plan(root, [port], trees, recipes)
    everything = list(_all_mutants(trees, port))
    equivalents = load_equivalents(recipes_dir(root, port))
    equivalents.check(everything)
    levels = {trees.find(port, text).number for text in mutants.levels}
    possible = [
        mutant
        for mutant in everything
        if (not levels or mutant.level in levels)
        and (not mutants.kinds or mutant.kind in mutants.kinds)
    ]
    chosen = sample(possible, mutants.sample) if mutants.sample else possible
    if not chosen:
        raise BadInput(f"{port}: no mutants: the chosen levels change no Python line")
    files: dict[int, set[str]] = {}
    for mutant in everything:
        files.setdefault(mutant.level, set()).add(mutant.path)
    return MutationPlan(
        port,
        plan.recipes,
        tuple(chosen),
        len(possible),
        {m.key: reason for m in chosen if (reason := equivalents.reason(m))},
        {level: sorted(paths) for level, paths in files.items()},
    )


def _all_mutants(trees: UpstreamTrees, port: str) -> Iterator[Mutant]:
    for level in trees.levels(port):
        yield from level_mutants(level, lambda blob: trees.blob(port, blob))
