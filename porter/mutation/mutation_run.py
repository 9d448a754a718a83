"""Trying mutants on the recipes: each on the runs that execute its line, until one verdict is bad.

The cheapest recipe comes first, and what a recipe executes is found out when a mutant has passed
all before it. Runs that do not execute the line keep the outcome they have without the mutant.
Mutants are tried several at a time, each by a thread of its own.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from porter.errors import CheckFailed
from porter.mutation.coverage import Coverage, find_reach
from porter.mutation.mutant_cache import PASSED, recall, remember
from porter.mutation.mutant_trees import MutantTrees, mutant_level
from porter.mutation.mutants import Mutant
from porter.mutation.score import MutantStatus, Outcome
from porter.process import Stopped
from porter.verify.cache.keys import RunKey, judge_hash, known_runs
from porter.verify.execution.scheduler import Runs, open_runs
from porter.verify.execution.session import Session
from porter.verify.judge import judge
from porter.verify.plan.job import Failure
from porter.verify.plan.matrix import RecipePlan, RunSpec, judged_points, points
from porter.verify.plan.trees import LevelTree
from porter.verify.recipe.load import LoadedRecipe
from porter.verify.recipe.schema import Limits

if TYPE_CHECKING:
    from porter.verify.harness.trace import Trace
    from porter.verify.judge.result import Verdict

_START_SECONDS = 10.0
_SLOWER = 10.0
_QUIET_CLAIMS = ("independent_of",)


@dataclass
class Baseline:
    """A recipe at one level without any mutant: its outcomes, and what each run executes."""

    planned: RecipePlan
    level: int
    known: Mapping[RunSpec, RunKey]
    outcomes: Mapping[RunSpec, Trace | Failure]
    verdicts: Sequence[Verdict] = ()
    reach: dict[RunSpec, Coverage] = field(default_factory=dict)
    watching: threading.Lock = field(default_factory=threading.Lock)

    @property
    def cost(self) -> float:
        """About how long all runs of the level take, in seconds."""
        return sum(self.seconds(point) + 1 for point in judged_points(self.planned))

    def touched(self, mutant: Mutant) -> list[RunSpec]:
        """The runs of this level that execute the mutant's line, the quickest first."""
        found = [point for point, reach in self.reach.items() if reach.holds(mutant)]
        return sorted(found, key=self.seconds)

    def seconds(self, point: RunSpec) -> float:
        """How long the run took without a mutant."""
        outcome = self.outcomes[point]
        return 0.0 if isinstance(outcome, Failure) else outcome.seconds


class Quiet:
    """An observer for the threads: nobody listens to single runs of a mutant."""

    def say(self, line: str) -> None: ...
    def building(self, environment: str) -> None: ...
    def progress(self, line: str) -> None: ...
    def built(self, environment: str, how: str) -> None: ...
    def expect(self, recipe: str, runs: int, seconds: float | None = None) -> None: ...
    def started(self, run: str) -> None: ...
    def ended(self, run: str, how: str) -> None: ...


Told = Callable[[str], None]
T = TypeVar("T")
Attempt = Callable[[Runs, MutantTrees, Sequence[Baseline], Mutant], T]
"""What is to become of one mutant, in a thread of its own; the grounds are those of its level, in
the order in which to try them."""


@dataclass
class MutationRun:
    """One port's hunt. ``kept`` is the folder of the cache for what earlier hunts found.

    ``files`` are the paths of each level (by number) that any mutant changes, tried now or not:
    what a run executes of them is found out once.
    """

    session: Session
    kept: Path
    files: Mapping[int, Sequence[str]]
    jobs: int
    say: Told

    def run(
        self, recipes: Sequence[RecipePlan], mutants: Sequence[Mutant]
    ) -> Iterator[tuple[Outcome, bool]]:
        """Yield each mutant's outcome as it is there, and whether it was known from before.

        Raises CheckFailed when a recipe fails without any mutant, EnvironmentFailed.
        """
        with self.opened(recipes, mutants) as (runs, grounds):
            yield from self.each(runs, grounds, mutants, self._attempt)

    @contextmanager
    def opened(
        self, recipes: Sequence[RecipePlan], mutants: Sequence[Mutant]
    ) -> Iterator[tuple[Runs, list[Baseline]]]:
        """Give what makes runs, and the recipes at the mutants' levels, each without a mutant.

        Raises CheckFailed when a recipe fails without any mutant, EnvironmentFailed.
        """
        with open_runs(self.session) as runs:
            yield runs, self._grounds(runs, recipes, mutants)

    def _grounds(
        self, runs: Runs, recipes: Sequence[RecipePlan], mutants: Sequence[Mutant]
    ) -> list[Baseline]:
        grounds = []
        for planned in recipes:
            for level in sorted({mutant.level for mutant in mutants}):
                one = replace(planned, chosen=planned.chosen & {level})
                if judged_points(one):
                    grounds.append(self._ground(runs, one, level))
        return sorted(grounds, key=lambda ground: ground.cost)

    def _ground(self, runs: Runs, planned: RecipePlan, level: int) -> Baseline:
        loaded = planned.loaded
        name = f"{loaded.port}/{loaded.name} at level {planned.levels[level].name}"
        self.say(f"{name}: without a mutant")
        environment = self.session.environment(loaded.environment, runs.start.warm)
        known = known_runs(planned, points(planned), environment)
        outcomes = runs.outcomes(planned, points(planned))
        ground = Baseline(planned, level, known, outcomes, judge(planned, outcomes))
        bad = [verdict for verdict in ground.verdicts if verdict.bad]
        if bad:
            raise CheckFailed(
                f"{name}: expected every verdict to pass without a mutant, found {len(bad)} bad; "
                f"`porter verify {loaded.port} --recipe {loaded.name}` shows them"
            )
        return ground

    def watch(self, runs: Runs, ground: Baseline) -> None:
        """Find out what the runs of a ground execute, if nobody has yet."""
        planned = ground.planned
        with ground.watching:
            for point in judged_points(planned):
                if point in ground.reach:
                    continue
                outcome = ground.outcomes[point]
                assert not isinstance(outcome, Failure)
                level = planned.levels[ground.level].name
                self.say(
                    f"{planned.loaded.port}/{planned.loaded.name} at level {level}: "
                    f"which lines it runs, {point.dtype} on {point.device}"
                )
                ground.reach[point] = find_reach(
                    planned,
                    point,
                    ground.known[point],
                    outcome,
                    self.files[ground.level],
                    self.session,
                    runs.start,
                    self.session.environment(planned.loaded.environment, runs.start.warm).python,
                    self.kept / "lines",
                )

    def each(
        self,
        runs: Runs,
        grounds: Sequence[Baseline],
        mutants: Sequence[Mutant],
        attempt: Attempt[T],
    ) -> Iterator[T]:
        """Yield what ``attempt`` makes of each mutant, as it is there."""
        with tempfile.TemporaryDirectory(dir=runs.start.warm.folder) as scratch:
            yield from self._try_all(runs, grounds, mutants, attempt, Path(scratch))

    def _try_all(
        self,
        runs: Runs,
        grounds: Sequence[Baseline],
        mutants: Sequence[Mutant],
        attempt: Attempt[T],
        scratch: Path,
    ) -> Iterator[T]:
        trees = MutantTrees(self.session.trees, scratch / "trees")
        places = replace(self.session.places, traces=scratch / "traces")
        options = replace(self.session.options, jobs=1)
        local = threading.local()

        def tried(mutant: Mutant) -> T:
            if not hasattr(local, "runs"):
                # The environments are shared: they were found or built for the grounds.
                session = replace(
                    self.session, trees=trees, places=places, observer=Quiet(), options=options
                )
                local.runs = Runs(session, runs.start)
            own = [ground for ground in grounds if ground.level == mutant.level]
            return attempt(local.runs, trees, own, mutant)

        pool = ThreadPoolExecutor(self.jobs, "mutant")
        waiting: set[Future[T]] = set()
        try:
            coming = iter(mutants)
            for mutant in coming:
                waiting.add(pool.submit(tried, mutant))
                if len(waiting) >= 2 * self.jobs:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BaseException:
            runs.start.stop.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _attempt(
        self, runs: Runs, trees: MutantTrees, grounds: Sequence[Baseline], mutant: Mutant
    ) -> tuple[Outcome, bool]:
        """Try one mutant until a recipe catches it."""
        places = [self.kept / "fates" / f"{_key(mutant, ground)}.json" for ground in grounds]
        earlier = [recall(place) for place in places]
        for ground, words in zip(grounds, earlier, strict=True):
            if words:
                return Outcome(mutant, "caught", ground.planned.loaded.name, words), True
        fate: MutantStatus = "not run"
        known, made = True, None
        try:
            for ground, place, word in zip(grounds, places, earlier, strict=True):
                self.watch(runs, ground)
                if not (touched := ground.touched(mutant)):
                    continue
                fate = "survived"
                if word == PASSED:
                    continue
                known = False
                made = made or trees.add(level_of(ground), mutant)
                bad = _first_bad(runs, ground, with_level(ground, made), touched)
                words = PASSED if bad is None else words_of(bad)
                remember(place, words)
                if words != PASSED:
                    return Outcome(mutant, "caught", ground.planned.loaded.name, words), False
        finally:
            if made is not None:
                trees.remove(made)
        return Outcome(mutant, fate), known


def with_level(ground: Baseline, made: LevelTree) -> RecipePlan:
    """The recipe with the mutant's level, and little patience: a mutant may never end."""
    planned = ground.planned
    levels = list(planned.levels)
    levels[ground.level] = made
    longest = max(ground.seconds(point) for point in ground.reach)
    recipe = planned.loaded.recipe
    seconds = min(recipe.limits.seconds, _START_SECONDS + _SLOWER * longest)
    limits = Limits(seconds=seconds, memory_gib=recipe.limits.memory_gib)
    document = replace(
        planned.loaded.document, value=msgspec.structs.replace(recipe, limits=limits)
    )
    loaded: LoadedRecipe = replace(planned.loaded, document=document)
    return replace(planned, levels=tuple(levels), loaded=loaded)


def _first_bad(
    runs: Runs, ground: Baseline, planned: RecipePlan, touched: Sequence[RunSpec]
) -> Verdict | None:
    """Run the touched points, and judge after each; what looks across runs is judged at the end."""
    outcomes = dict(ground.outcomes)
    found: list[Verdict] = []

    def is_enough(point: RunSpec, outcome: Trace | Failure) -> bool:
        if isinstance(outcome, Failure) and outcome.kind == "stopped":
            raise Stopped
        outcomes[point] = outcome
        found[:] = [
            verdict
            for verdict in judge(ground.planned, outcomes)
            if verdict.bad and verdict.claim not in _QUIET_CLAIMS
        ]
        return bool(found)

    runs.outcomes(planned, touched, until=is_enough)
    found = found or [verdict for verdict in judge(ground.planned, outcomes) if verdict.bad]
    return found[0] if found else None


def words_of(verdict: Verdict) -> str:
    where = verdict.output or "the run"
    numbers = ""
    if verdict.error is not None and verdict.allowed is not None:
        numbers = f" {verdict.measure} {verdict.error:.3g}, allowed {verdict.allowed:.3g}"
    text = f"{where} {verdict.claim}{numbers}".strip()
    return f"{text}: {verdict.detail}"[:200] if verdict.detail else text


def _key(mutant: Mutant, ground: Baseline) -> str:
    """The hash of everything that a recipe's word on a mutant depends on."""
    loaded = ground.planned.loaded
    facts = {
        "judge": judge_hash(),
        "mutant": [mutant_level(level_of(ground), mutant).tree, mutant.after],
        "recipe": [loaded.name, loaded.sha256],
        "runs": {str(astuple(point)): known.key for point, known in ground.known.items()},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]


def level_of(ground: Baseline) -> LevelTree:
    """The level itself, without any mutant."""
    return ground.planned.levels[ground.level]
