"""Resolve what `porter compare` compares, and make its runs with a recipe's probe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from porter.device import DEVICES
from porter.errors import BadInput, CheckFailed
from porter.places import recipes_dir
from porter.verify.cache.keys import known_runs
from porter.verify.divergence.timeline import Timeline, read_timeline
from porter.verify.execution.run_probe import Launcher, run_folder, run_probe
from porter.verify.execution.session import Session
from porter.verify.harness.run_info import HEAD
from porter.verify.plan.matrix import Failure, RunSpec, job_of
from porter.verify.plan.select import RecipePlan, make_folders, plan_recipe
from porter.verify.plan.trees import LevelTree, NotReachable, Trees
from porter.verify.recipe.claims import as_text
from porter.verify.recipe.load import LoadedRecipe, find_recipes
from porter.verify.recipe.schema import NATIVE, Variant

_LONGER = 4
"""Recording is slow: a run's time limit is this multiple of the recipe's."""


@dataclass(frozen=True)
class CompareRequest:
    """What the user asked to compare; None: the recipe's first."""

    port: str
    first: str
    second: str
    recipe: str | None = None
    device: str | None = None
    dtype: str | None = None
    seed: int | None = None
    where: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Comparison:
    """A recipe and the runs to compare; ``exact`` is the first in float64, if there is one."""

    planned: RecipePlan
    first: RunSpec
    second: RunSpec
    exact: RunSpec | None

    def level(self, spec: RunSpec) -> LevelTree:
        return self.planned.levels[spec.level]


def choose(root: Path, request: CompareRequest, trees: Trees) -> Comparison:
    """Resolve a request.

    Raises BadInput for names that do not exist, CheckFailed for what no source covers.
    """
    loaded = _recipe(root, request)
    recipe = loaded.recipe
    try:
        levels = tuple(trees.levels(request.port))
        planned = plan_recipe(loaded, levels, frozenset(), trees)
        dtype = _one_of("--dtype", request.dtype, recipe.dtypes, recipe.dtypes[0])
        seed = recipe.seeds[0] if request.seed is None else request.seed
        variant = _variant(loaded, request.where or {})
        device = _one_of("--device", request.device, DEVICES, recipe.devices[0])

        def spec(text: str, *, is_first: bool) -> RunSpec:
            name, on = level_and_device(text)
            number = trees.find(request.port, name).number
            # Upstream runs on the recipe's baseline device: it need not run on others.
            usual = recipe.baseline_device if is_first and number == 0 else device
            if on and on not in DEVICES:
                there = ", ".join(DEVICES)
                raise BadInput(f"{text}: device: expected one of {there}, found {on!r}")
            where = on or usual
            return RunSpec(number, where, dtype, seed, variant)

        first, second = spec(request.first, is_first=True), spec(request.second, is_first=False)
        make_folders(loaded, levels, {first.level, second.level}, trees)
    except NotReachable as error:
        raise CheckFailed(f"{request.port}: not reachable: {error}") from error
    if first == second:
        raise BadInput(f"{request.first} and {request.second} are the same run; name two")
    exact: RunSpec | None = RunSpec(first.level, recipe.reference.device, "float64", seed, variant)
    if dtype in (NATIVE, "float64"):
        exact = None
    return Comparison(planned, first, second, exact)


def level_and_device(text: str) -> tuple[str, str]:
    """Split ``LEVEL@DEVICE``; the device is "" where none is named."""
    name, _, on = text.rpartition("@")
    return (name, on) if name else (text, "")


def _recipe(root: Path, request: CompareRequest) -> LoadedRecipe:
    there = {recipe.name: recipe for recipe in find_recipes(recipes_dir(root, request.port))}
    if not there:
        raise BadInput(f"{request.port}: no recipes for it in {recipes_dir(root, request.port)}")
    if request.recipe is None and len(there) == 1:
        return next(iter(there.values()))
    if request.recipe is None:
        raise BadInput(f"{request.port}: which recipe? --recipe {' | '.join(there)}")
    name = request.recipe.removeprefix(f"{request.port}/")
    if name not in there:
        raise BadInput(f"--recipe {request.recipe}: expected one of {', '.join(there)}")
    return there[name]


def _one_of(option: str, given: str | None, there: tuple[str, ...], usual: str) -> str:
    if given is None:
        return usual
    if given not in there:
        raise BadInput(f"{option} {given}: expected one of {', '.join(there)}")
    return given


def _variant(loaded: LoadedRecipe, where: Mapping[str, str]) -> Variant:
    vary = loaded.recipe.vary
    for name in where:
        if name not in vary:
            there = ", ".join(vary) or "nothing"
            raise BadInput(f"--where {name}: the recipe {loaded.name} varies {there}")
    chosen = []
    for name, values in vary.items():
        texts = [as_text(value) for value in values]
        spelled = dict(zip((*map(str, values), *texts), (*texts, *texts), strict=True))
        given = where.get(name, texts[0])
        if given not in spelled:
            raise BadInput(f"--where {name}={given}: expected one of {', '.join(texts)}")
        chosen.append((name, spelled[given]))
    return tuple(chosen)


@dataclass
class ComparisonRunner:
    """Makes the runs of a comparison. ``lacking`` says why there is no exact run."""

    comparison: Comparison
    session: Session
    start: Launcher
    lacking: str = ""

    def __call__(self, side: str, activations: str) -> Timeline | None:
        """Run a side; see :data:`porter.verify.divergence.search.MakeRun`.

        Raises CheckFailed, with the end of its stderr, when a level does not run.
        """
        spec: RunSpec | None = getattr(self.comparison, side)
        if spec is None or (side == "exact" and self.lacking):
            return None
        found = self._run(spec, activations)
        if isinstance(found, Timeline):
            return found
        if side == "exact":
            self.lacking = found.reason
            return None
        name = f"level {spec.level} {self.comparison.level(spec).name} on {spec.device}"
        stderr = f"\n{found.stderr.strip()}" if found.stderr.strip() else ""
        raise CheckFailed(f"{name} does not run: {found.reason}{stderr}")

    def _run(self, spec: RunSpec, activations: str) -> Timeline | Failure:
        planned, session = self.comparison.planned, self.session
        environment = session.environment(planned.loaded.environment, self.start.warm)
        facts = known_runs(planned, [spec], environment)[spec].facts
        job = job_of(planned, spec, facts, session.trees)
        if isinstance(job, Failure):
            return job
        session.mend_trees(job)
        job = replace(job, activations=activations, seconds=job.seconds * _LONGER)
        title = f"level {spec.level} {facts.level_name}, {spec.device}, {spec.dtype}"
        session.observer.expect(title, 1)
        session.observer.started(title)
        with run_folder(session.places.runs) as folder:
            out = run_probe(job, environment.python, folder, self.start)
            session.observer.ended(title, "failed" if isinstance(out, Failure) else "made")
            if isinstance(out, Failure):
                return out
            warnings = json.loads((out / HEAD).read_text(encoding="utf-8"))["warnings"]
            return read_timeline(out, tuple(warnings))
