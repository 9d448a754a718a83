"""Running a plan: every run in its own process, one after the other, and the verdicts on them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from porter.verify import runner, trace
from porter.verify.environment import Environment, EnvironmentFailed, ensure_environment
from porter.verify.facts import RunFacts
from porter.verify.layer import PINNED, Layer, find_layer
from porter.verify.plan import Plan, Planned
from porter.verify.points import Point, judge, points
from porter.verify.recipe import LoadedRecipe
from porter.verify.requirements import TORCH_ALONE, load_requirements
from porter.verify.result import RecipeResult, Verdict
from porter.verify.run import Failure, Job, Launcher, launcher, run_folder, run_probe
from porter.verify.trace import BadTrace, Trace
from porter.verify.trees import Trees


class Observer(Protocol):
    """Hears what goes on."""

    def say(self, line: str) -> None:
        """A line worth keeping: an environment is being built, or built again, and why."""
        ...

    def progress(self, line: str) -> None:
        """What pip does now."""
        ...

    def running(self, recipe: LoadedRecipe, what: str, done: int, total: int) -> None:
        """A run starts: run number ``done`` + 1 of ``total`` of this recipe."""
        ...


@dataclass(frozen=True)
class Places:
    """Folders of the cache that verification writes to."""

    environments: Path
    traces: Path
    runs: Path

    @staticmethod
    def under(cache_folder: Path) -> Places:
        return Places(cache_folder / "environments", cache_folder / "traces", cache_folder / "runs")


@dataclass
class Session:
    """One verification: what was found and built once for all of its recipes."""

    trees: Trees
    places: Places
    observer: Observer
    _layer: Layer | None = None
    _environments: dict[Path | None, Environment | EnvironmentFailed] = field(default_factory=dict)

    def environment(self, requirements: Path | None) -> Environment:
        """Return the environment for a requirements file, built when needed.

        Raises EnvironmentFailed, at once for one that failed already.
        """
        if requirements not in self._environments:
            try:
                self._environments[requirements] = self._ensure(requirements)
            except EnvironmentFailed as error:
                self._environments[requirements] = error
        found = self._environments[requirements]
        if isinstance(found, EnvironmentFailed):
            raise found
        return found

    def _ensure(self, path: Path | None) -> Environment:
        if self._layer is None:
            self._layer = find_layer()
        asked = load_requirements(path, PINNED) if path is not None else TORCH_ALONE
        place, hear = self.places.environments, self.observer
        return ensure_environment(asked, self._layer, place, hear.say, hear.progress)


def execute(plan: Plan, session: Session) -> Iterator[RecipeResult]:
    """Run every planned recipe; yield each result as it is there."""
    with launcher(session.places.runs) as start:
        for planned in plan.recipes:
            yield _verify(planned, session, start)


def _verify(planned: Planned, session: Session, start: Launcher) -> RecipeResult:
    loaded, began = planned.loaded, time.monotonic()
    runs = _Runs(planned, session, start)
    verdicts: list[Verdict] = []
    try:
        runs.environment = session.environment(loaded.environment)
    except EnvironmentFailed as error:
        verdicts.append(
            Verdict(0, planned.levels[0].name, "", 0, "", "", "error", detail=str(error))
        )
    else:
        outcomes = {point: runs.run(point) for point in points(planned)}
        verdicts = judge(planned, outcomes)
    return RecipeResult(
        port=loaded.port,
        recipe=loaded.name,
        title=loaded.recipe.title,
        verdicts=tuple(verdicts),
        runs=runs.done,
        seconds=time.monotonic() - began,
    )


class _Runs:
    """The runs of one recipe. Equal runs (same tree, dtype, seed, everything) are made once."""

    def __init__(self, planned: Planned, session: Session, start: Launcher) -> None:
        self._planned = planned
        self._start = start
        self._session = session
        self._outcomes: dict[str, Trace | Failure] = {}
        self.environment: Environment | None = None
        self.done = 0
        self._total = len(points(planned))

    def run(self, point: Point) -> Trace | Failure:
        """Return what a run left, or why it left nothing."""
        assert self.environment is not None
        facts = facts_of(self._planned, point, self.environment)
        key = trace_key(facts)
        if key not in self._outcomes:
            what = f"{point.level} {facts.level_name}, {point.dtype}, seed {point.seed}"
            self._session.observer.running(self._planned.loaded, what, self.done, self._total)
            self._outcomes[key] = self._run(facts, key, point)
            self.done += 1
        return self._outcomes[key]

    def _run(self, facts: RunFacts, key: str, point: Point) -> Trace | Failure:
        session, loaded = self._session, self._planned.loaded
        recipe, level = loaded.recipe, self._planned.levels[point.level]
        tree = session.trees.folder(loaded.port, level, recipe.needs)
        companions = {
            name: session.trees.folder(name, other, ()) for name, other in self._planned.companions
        }
        roots = [tree / root for root in recipe.source_roots]
        roots += [f / "src" if (f / "src").is_dir() else f for f in companions.values()]
        for root in roots:
            if not root.is_dir():
                return Failure(
                    "tree", f"source root {root.relative_to(tree)} is not in the tree", ""
                )
        job = Job(
            facts=facts,
            probe=loaded.probe.resolve(),
            parameters=recipe.parameters | point.values,
            tree=tree,
            source_roots=tuple(roots),
            companions=companions,
            seconds=recipe.limits.seconds,
            memory_bytes=int(recipe.limits.memory_gib * 2**30),
        )
        assert self.environment is not None
        with run_folder(session.places.runs) as folder:
            out = run_probe(job, self.environment.python, folder, self._start)
            if isinstance(out, Failure):
                return out
            try:
                found = trace.read(out)
            except BadTrace as error:
                return Failure("trace", f"left a damaged trace: {error}", "")
            _keep(out, session.places.traces / facts.port / facts.recipe / key)
            return found


def facts_of(planned: Planned, point: Point, environment: Environment) -> RunFacts:
    """Return what is known of a run beforehand."""
    loaded, level = planned.loaded, planned.levels[point.level]
    return RunFacts(
        port=loaded.port,
        recipe=loaded.name,
        recipe_sha256=loaded.sha256,
        inputs_sha256=loaded.inputs_sha256(),
        probe_sha256=probe_hash(loaded.probe),
        level=level.number,
        level_name=level.name,
        tree=level.tree,
        companions={name: other.tree for name, other in planned.companions},
        dtype=point.dtype,
        device=point.device,
        seed=point.seed,
        threads=loaded.recipe.threads,
        environment=environment.key,
        engine=engine_hash(),
        variant=dict(point.variant),
        environ=loaded.recipe.environ_on(point.device),
    )


def trace_key(facts: RunFacts) -> str:
    """Return the hash of everything that a run's outputs depend on (not names, not claims)."""
    names = {"port", "recipe", "recipe_sha256", "level", "level_name"}
    reaching = {k: v for k, v in dataclasses.asdict(facts).items() if k not in names}
    text = json.dumps(reaching | {"machine": platform.platform()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def probe_hash(path: Path) -> str:
    """Return the hash of the probe and of every Python file beside it that it may import."""
    digest = hashlib.sha256(path.name.encode())
    for file in sorted(path.parent.glob("**/*.py")):
        digest.update(f"\0{file.relative_to(path.parent)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


@cache
def engine_hash() -> str:
    """Return the hash of porter's own code that runs around a probe, simulated devices included."""
    here = Path(runner.__file__).parent
    files = [here / f"{name}.py" for name in runner.MODULES]
    for package in ("device", "migrate"):
        files += sorted(path for path in (here.parent / package).rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for file in files:
        if file.suffix in (".py", ".json"):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _keep(out: Path, place: Path) -> None:
    """Move a finished trace to its place in the cache; whatever stood there gives way.

    A trace that cannot be kept (a full disk, another porter at the same moment) costs nothing now.
    """
    aside = out.with_name("replaced")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            place.replace(aside)
        out.replace(place)
    except OSError:
        shutil.rmtree(out, ignore_errors=True)
