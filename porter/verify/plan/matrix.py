"""List the runs that a recipe needs, and the job that the process of each gets.

:func:`run_specs` lists the runs; :func:`porter.verify.judge.judge` judges their outcomes. They can
run in any order and in parallel. This module imports no torch.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from porter.verify.harness.run_info import RunFacts
from porter.verify.plan.trees import ForeignLevel, LevelTree, Trees
from porter.verify.recipe.claims import Claim, as_text
from porter.verify.recipe.load import LoadedRecipe
from porter.verify.recipe.schema import Variant, twin_of

_SHAKEN_PATIENCE = 5
"""Factor on the time limit of a shaken run, whose kernels are slow."""

Target = int | Literal["previous"] | None


@dataclass(frozen=True)
class RecipePlan:
    """One recipe to run: all levels of its port, those to judge, and where each claim applies.

    ``claim_targets`` holds, for each claim, the level it compares with (a number, PREVIOUS, or None
    for the judged level itself). ``devices`` are those of the recipe that the user selected, and
    cards selected by name whose simulated twin is one of the recipe's;
    ``insisted`` those selected by name, which fail instead of being skipped if they are absent.
    ``in_part``: some of the recipe's claims were left out, so an output may have none.
    ``files`` identifies, by level, which files of the level the run's tree holds.
    """

    loaded: LoadedRecipe
    levels: tuple[LevelTree, ...]
    chosen: frozenset[int]
    claim_levels: tuple[frozenset[int], ...]
    companions: tuple[tuple[str, LevelTree], ...]
    claim_targets: tuple[Target, ...]
    devices: tuple[str, ...]
    insisted: frozenset[str] = frozenset()
    in_part: bool = False
    files: Mapping[int, str] = field(default_factory=dict)

    @property
    def is_foreign(self) -> bool:
        """Whether a tree is judged that is no level of the port."""
        return isinstance(self.levels[-1], ForeignLevel)

    @property
    def name(self) -> str:
        """The recipe's name with its port: ``port/recipe``."""
        return f"{self.loaded.port}/{self.loaded.name}"

    def index(self, claim: Claim) -> int:
        """Return the claim's index in the recipe."""
        return self.loaded.recipe.claims.index(claim)

    def target_level(self, claim: Claim, level: int) -> int:
        """Return the level that a claim on ``level`` compares with."""
        target = self.claim_targets[self.index(claim)]
        if isinstance(target, int):
            return target
        return level if target is None else level - 1


@dataclass(frozen=True)
class RunSpec:
    """One run of a recipe. ``variant`` holds (name, value as JSON) in the recipe's order.

    A ``shaken`` run measures the noise of its outputs (:mod:`porter.verify.harness.shaken`).
    """

    level: int
    device: str
    dtype: str
    seed: int
    variant: Variant = ()
    shaken: bool = False

    @property
    def row(self) -> tuple[object, ...]:
        """Its fields, in their order: part of the keys of verdicts."""
        return self.level, self.device, self.dtype, self.seed, self.variant, self.shaken

    @property
    def values(self) -> dict[str, Any]:
        """The variant's values, as passed to the probe."""
        return {name: json.loads(text) for name, text in self.variant}


def run_specs(planned: RecipePlan) -> tuple[RunSpec, ...]:
    """Return all runs needed, without repeats: references, baselines, others, then those judged."""
    judged: list[RunSpec] = []
    references: list[RunSpec] = []
    baselines: list[RunSpec] = []
    others: list[RunSpec] = []
    shaken: list[RunSpec] = []
    for spec, claims in _judged(planned):
        judged.append(spec)
        if any(claim.needs_reference for claim in claims):
            references.append(reference_spec(planned, spec))
            baselines.append(baseline_spec(planned, spec))
        others += [target_spec(planned, claim, spec) for claim in claims if _compares(claim)]
        settled = (noise_spec(planned, claim, spec, claims) for claim in claims)
        shaken += [each for each in settled if each is not None]
    noisy = [replace(each, shaken=True) for each in dict.fromkeys(shaken)]
    return tuple(dict.fromkeys((*references, *baselines, *others, *noisy, *judged)))


def judged_specs(planned: RecipePlan) -> tuple[RunSpec, ...]:
    """Return the runs to judge, in the order of their verdicts.

    A level with claims on some devices or variants only is not run on the others. A level without
    any claim stays in, so that its verdict says so.
    """
    return tuple(spec for spec, _ in _judged(planned))


def _judged(planned: RecipePlan) -> Iterator[tuple[RunSpec, list[Claim]]]:
    """Yield the runs to judge, each with the claims that apply to it."""
    recipe = planned.loaded.recipe
    numbers = [level.number for level in planned.levels if level.number in planned.chosen]
    for seed, variant in itertools.product(recipe.seeds, recipe.variants):
        for device, dtype in itertools.product(planned.devices, recipe.dtypes):
            for number in numbers:
                spec = RunSpec(number, device, dtype, seed, variant)
                claims = claims_on(planned, spec)
                if claims or not _claimed_elsewhere(planned, spec):
                    yield spec, claims


def held_only_to_itself(planned: RecipePlan) -> bool:
    """Whether every claim on every run compares it with itself, so that none can fail."""
    return all(
        held_to(planned, claim, spec) == spec
        for spec, claims in _judged(planned)
        for claim in claims
    )


def _claimed_elsewhere(planned: RecipePlan, spec: RunSpec) -> bool:
    recipe = planned.loaded.recipe
    return any(
        claims_on(planned, replace(spec, device=device, variant=variant))
        for device, variant in itertools.product(recipe.devices, recipe.variants)
    )


def claims_on(planned: RecipePlan, spec: RunSpec) -> list[Claim]:
    """Return the claims that apply to a run; on a card those of its simulated twin do as well."""
    values = dict(spec.variant)
    claims = planned.loaded.recipe.claims
    return [
        claim
        for claim, levels in zip(claims, planned.claim_levels, strict=True)
        if spec.level in levels
        and (claim.devices is None or {spec.device, twin_of(spec.device)} & {*claim.devices})
        and (claim.dtypes is None or spec.dtype in claim.dtypes)
        and all(values.get(name) in texts for name, texts in claim.where_texts.items())
        and not (claim.less_than and target_spec(planned, claim, spec) == spec)
    ]


def reference_spec(planned: RecipePlan, spec: RunSpec) -> RunSpec:
    """Return the reference run: level 0 on the recipe's reference device, in its dtype."""
    recipe = planned.loaded.recipe
    device, dtype = recipe.reference.device, recipe.reference_dtype
    return RunSpec(0, device, dtype, spec.seed, spec.variant, spec.shaken)


def baseline_spec(planned: RecipePlan, spec: RunSpec) -> RunSpec:
    """Return the run whose error is the allowance: level 0 in the same dtype."""
    device = planned.loaded.recipe.baseline_device
    return RunSpec(0, device, spec.dtype, spec.seed, spec.variant, spec.shaken)


def noise_spec(
    planned: RecipePlan, claim: Claim, spec: RunSpec, claims: Sequence[Claim]
) -> RunSpec | None:
    """Return the run whose shaken twin measures the noise of a claim's outputs; None: not needed.

    It is level 0's run in the same dtype if one of the ``claims`` on the point needs that anyway,
    else the run that the claim compares with.
    """
    if not claim.has_tolerance:
        return None
    if any(other.needs_reference for other in claims):
        return baseline_spec(planned, spec)
    return target_spec(planned, claim, spec)


def _compares(claim: Claim) -> bool:
    return bool(claim.against or claim.less_than or claim.ratio)


def target_spec(planned: RecipePlan, claim: Claim, spec: RunSpec) -> RunSpec:
    """Return the run that a claim with ``against``, ``less_than`` or ``ratio`` compares with."""
    level = planned.target_level(claim, spec.level)
    other = claim.against or claim.less_than
    if other is None:
        return replace(spec, level=level)
    values = {name: as_text(value) for name, value in other.where.items()}
    variant = tuple((name, values.get(name, text)) for name, text in spec.variant)
    return replace(spec, level=level, device=other.device or spec.device, variant=variant)


def held_to(planned: RecipePlan, claim: Claim, spec: RunSpec) -> RunSpec | None:
    """Return the run that a claim compares with; None for a claim that needs no other run."""
    if _compares(claim):
        return target_spec(planned, claim, spec)
    if claim.subject != "outputs" or claim.kind_name == "finite":
        return None
    if claim.kind_name in ("parity", "loss_curve", "equal"):
        return baseline_spec(planned, spec)
    return reference_spec(planned, spec)


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
    base: str = ""  # porter.verify.cache.reads; "": which files it reads is not recorded

    @property
    def roots(self) -> dict[str, Path]:
        """Its trees: "" for its own, and its companions by name."""
        return {"": self.tree, **self.companions}


@dataclass(frozen=True)
class Failure:
    """Why a run left no trace, the end of its stderr, and the lines of the tree it failed in."""

    kind: str
    """exception, exit, memory, time, signal, environment, device, trace, tree, probe or stopped."""
    reason: str
    stderr: str
    frames: str = ""


def job_of(planned: RecipePlan, spec: RunSpec, facts: RunFacts, trees: Trees) -> Job | Failure:
    """Return the job of a run; a failure if the tree lacks a source root."""
    loaded, recipe = planned.loaded, planned.loaded.recipe
    tree = trees.folder(loaded.port, planned.levels[spec.level], recipe.needs)
    companions = {name: trees.folder(name, other, ()) for name, other in planned.companions}
    roots = [tree / root for root in recipe.source_roots]
    roots += [f / "src" if (f / "src").is_dir() else f for f in companions.values()]
    for root in roots:
        if not root.is_dir():
            return Failure("tree", f"source root {root.relative_to(tree)} is not in the tree", "")
    return Job(
        facts=facts,
        probe=loaded.probe.resolve(),
        parameters=recipe.parameters | spec.values,
        tree=tree,
        source_roots=tuple(roots),
        companions=companions,
        seconds=recipe.limits.seconds * (_SHAKEN_PATIENCE if spec.shaken else 1),
        memory_bytes=int(recipe.limits.memory_gib * 2**30),
    )
