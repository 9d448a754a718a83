"""Try mutants on the recipes: each on the runs that execute its line, until one verdict is bad.

The cheapest recipe comes first; which lines a recipe executes is found out when a mutant has passed
all recipes before it. Runs that do not execute the line keep the outcome they have without the
mutant: a run depends on the tree through the code it executes. Several mutants are tried at a time,
each in a thread of its own. What each recipe made of each mutant is cached in a file of its own, so
that with more recipes, or after one changed, mutants are tried on those alone.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from porter.atomic import read_json, write_json
from porter.errors import CheckFailed
from porter.mutation.mutants import (
    Mutant,
    MutantResult,
    MutantStatus,
    MutantTrees,
    RecipeCoverage,
    mutant_level,
)
from porter.process import Stopped
from porter.verify.cache.keys import RunKey, judge_hash, known_runs
from porter.verify.cache.store import Places
from porter.verify.execution.run_probe import Launcher, run_folder, run_probe
from porter.verify.execution.scheduler import Runs, open_runs
from porter.verify.execution.session import Options, Session
from porter.verify.harness.line_coverage import LINES
from porter.verify.judge import judge
from porter.verify.plan.matrix import Failure, RecipePlan, RunSpec, job_of, judged_specs, run_specs
from porter.verify.plan.trees import LevelTree, Trees

if TYPE_CHECKING:
    from porter.mutation.plan import MutationPlan
    from porter.verify.harness.trace import Trace
    from porter.verify.judge.result import Verdict

_START_SECONDS = 10.0
_SLOWER = 10.0
_CLAIMS_ACROSS_RUNS = ("independent_of",)

PASSED = ""
"""The cached result of a recipe that did not catch the mutant."""

Say = Callable[[str], None]
"""Prints a line about what is done now."""


@dataclass
class Baseline:
    """A recipe at one level without any mutant: its outcomes, and which lines each run executes."""

    planned: RecipePlan
    level: int
    known: Mapping[RunSpec, RunKey]
    outcomes: Mapping[RunSpec, Trace | Failure]
    verdicts: Sequence[Verdict] = ()
    coverage: dict[RunSpec, RecipeCoverage] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def cost(self) -> float:
        """Roughly how long all runs of the level take, in seconds."""
        return sum(self.seconds(spec) + 1 for spec in judged_specs(self.planned))

    @property
    def level_tree(self) -> LevelTree:
        """The level itself, without any mutant."""
        return self.planned.levels[self.level]

    @property
    def title(self) -> str:
        return f"{self.planned.name} at level {self.level_tree.name}"

    def runs_over(self, mutant: Mutant) -> list[RunSpec]:
        """Return the runs of this level that execute the mutant's line, the quickest first."""
        found = [spec for spec, lines in self.coverage.items() if lines.includes(mutant)]
        return sorted(found, key=self.seconds)

    def seconds(self, spec: RunSpec) -> float:
        """Return how long the run took without a mutant."""
        outcome = self.outcomes[spec]
        return 0.0 if isinstance(outcome, Failure) else outcome.seconds


class SilentObserver:
    """Ignores the progress of single runs: a mutation run reports mutants."""

    def say(self, *_: Any, **__: Any) -> None: ...

    building = progress = built = expect = started = ended = say


def _executes_unseen(counters: Mapping[str, int | float]) -> bool:
    """Whether a run executes lines that its own interpreter does not tell of."""
    return any(
        name.startswith("launched/") or (name.rpartition("/")[2] == "compiled_graphs" and count)
        for name, count in counters.items()
    )


T = TypeVar("T")
Attempt = Callable[[Runs, Sequence[Baseline], Mutant], T]
"""Tries one mutant, in a thread of its own, on the baselines of its level in the given order."""


@dataclass
class MutationRun:
    """One port's mutants being tried. ``cache`` is the folder of earlier results.

    ``files`` are the paths of each level (by number) that any mutant changes, tried now or not: the
    lines that a run executes of them are found once.
    """

    session: Session
    cache: Path
    files: Mapping[int, Sequence[str]]
    jobs: int
    say: Say

    def run(
        self, recipes: Sequence[RecipePlan], mutants: Sequence[Mutant]
    ) -> Iterator[tuple[MutantResult, bool]]:
        """Yield each mutant's result as soon as it is known, and whether it was in the cache.

        Raises as :meth:`opened` does.
        """
        with self.opened(recipes, mutants) as (runs, baselines):
            yield from self.each(runs, baselines, mutants, self._attempt)

    @contextmanager
    def opened(
        self, recipes: Sequence[RecipePlan], mutants: Sequence[Mutant]
    ) -> Iterator[tuple[Runs, list[Baseline]]]:
        """Give what makes runs, and the recipes' baselines at the mutants' levels.

        Raises CheckFailed when a recipe fails without any mutant, EnvironmentFailed.
        """
        with open_runs(self.session) as runs:
            found = []
            for planned in recipes:
                for level in sorted({mutant.level for mutant in mutants}):
                    one = replace(planned, chosen=planned.chosen & {level})
                    if judged_specs(one):
                        found.append(self._baseline(runs, one, level))
            yield runs, sorted(found, key=lambda baseline: baseline.cost)

    def _baseline(self, runs: Runs, planned: RecipePlan, level: int) -> Baseline:
        loaded = planned.loaded
        name = f"{planned.name} at level {planned.levels[level].name}"
        self.say(f"{name}: without a mutant")
        environment = self.session.environment(loaded.environment, runs.start.warm)
        known = known_runs(planned, run_specs(planned), environment)
        outcomes = runs.outcomes(planned, run_specs(planned))
        baseline = Baseline(planned, level, known, outcomes, judge(planned, outcomes))
        if bad := sum(verdict.bad for verdict in baseline.verdicts):
            raise CheckFailed(
                f"{name}: expected every verdict to pass without a mutant, found {bad} bad; "
                f"`porter verify {loaded.port} --recipe {loaded.name}` shows them"
            )
        return baseline

    def find_lines(self, runs: Runs, baseline: Baseline) -> None:
        """Find the lines that a baseline's runs execute, unless they are known."""
        planned = baseline.planned
        with baseline.lock:
            for spec in judged_specs(planned):
                if spec in baseline.coverage:
                    continue
                self.say(f"{baseline.title}: which lines it runs, {spec.dtype} on {spec.device}")
                lines = self._lines(runs.start, baseline, spec)
                known = {name: frozenset(each) for name, each in (lines or {}).items()}
                baseline.coverage[spec] = RecipeCoverage(known, everything=lines is None)

    def _lines(
        self, start: Launcher, baseline: Baseline, spec: RunSpec
    ) -> dict[str, list[int]] | None:
        """Return which lines of the mutants' files a run executes; None where it may be any.

        Unless cached under the key of the run's trace, the run is repeated for that. A run that
        launched processes may execute anything in them, and one that compiled graphs anything in
        these: Dynamo reads code that is then never executed. So may one that fails while its lines
        are recorded.
        """
        outcome, known = baseline.outcomes[spec], baseline.known[spec]
        if isinstance(outcome, Failure) or _executes_unseen(outcome.counters):
            return None
        files = tuple(self.files[baseline.level])
        names = hashlib.sha256("\0".join(files).encode()).hexdigest()[:16]
        path = self.cache / "lines" / f"{known.key}-{names}.json"
        found: dict[str, list[int]]
        try:
            found = read_json(path)
        except (OSError, ValueError):
            job = job_of(baseline.planned, spec, known.facts, self.session.trees)
            if isinstance(job, Failure):
                return None
            self.session.mend_trees(job)
            slower = replace(job, lines=files, seconds=job.seconds * 3)
            environment = baseline.planned.loaded.environment
            python = self.session.environment(environment, start.warm).python
            with run_folder(self.session.places.runs) as folder:
                out = run_probe(slower, python, folder, start)
                if isinstance(out, Failure):
                    return None
                found = json.loads((out / LINES).read_text())
            write_json(path, found)
        return found

    def each(
        self,
        runs: Runs,
        baselines: Sequence[Baseline],
        mutants: Sequence[Mutant],
        attempt: Attempt[T],
    ) -> Iterator[T]:
        """Yield what ``attempt`` returns for each mutant, as soon as it is known."""
        with (
            tempfile.TemporaryDirectory(dir=runs.start.warm.folder) as scratch,
            ThreadPoolExecutor(self.jobs, "mutant") as pool,
        ):
            trees = MutantTrees(self.session.trees, Path(scratch, "trees"))
            # The environments are shared: the baselines found or built them.
            session = replace(
                self.session,
                trees=trees,
                places=replace(self.session.places, traces=Path(scratch, "traces")),
                observer=SilentObserver(),
                options=replace(self.session.options, jobs=1),
            )
            local = threading.local()

            def tried(mutant: Mutant) -> T:
                if not hasattr(local, "runs"):
                    local.runs = Runs(session, runs.start)
                own = [baseline for baseline in baselines if baseline.level == mutant.level]
                try:
                    return attempt(local.runs, own, mutant)
                finally:
                    trees.remove(mutant)

            waiting: set[Future[T]] = set()
            try:
                left = deque(mutants)
                while left or waiting:
                    while left and len(waiting) < 2 * self.jobs:
                        waiting.add(pool.submit(tried, left.popleft()))
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            except BaseException:
                runs.start.stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _attempt(
        self, runs: Runs, baselines: Sequence[Baseline], mutant: Mutant
    ) -> tuple[MutantResult, bool]:
        """Try one mutant until a recipe catches it."""
        paths = []
        for each in baselines:
            loaded = each.planned.loaded
            key = result_key(mutant, each, recipe=[loaded.name, loaded.sha256])
            paths.append(self.cache / "fates" / f"{key}.json")
        earlier = [_recall(path) for path in paths]
        for baseline, reason in zip(baselines, earlier, strict=True):
            if reason:
                return MutantResult(mutant, "caught", baseline.planned.loaded.name, reason), True
        status: MutantStatus = "not run"
        known = True
        for baseline, path, before in zip(baselines, paths, earlier, strict=True):
            self.find_lines(runs, baseline)
            if not (points_over := baseline.runs_over(mutant)):
                continue
            status = "survived"
            if before == PASSED:
                continue
            known = False
            bad = _first_bad(runs, baseline, with_mutant(baseline, mutant), points_over)
            reason = PASSED if bad is None else describe(bad)
            write_json(path, {"caught": reason})
            if reason != PASSED:
                return MutantResult(mutant, "caught", baseline.planned.loaded.name, reason), False
        return MutantResult(mutant, status), known


def try_mutants(
    plan: MutationPlan,
    trees: Trees,
    cache: Path,
    options: Options,
    say: Say,
    tried: Callable[[MutantResult], None],
) -> list[MutantResult]:
    """Try the mutants of a plan and return all results in its order, equivalents included.

    ``cache`` is porter's cache folder; ``tried`` is called with each result as soon as it is known.
    Raises CheckFailed when a recipe fails without any mutant, EnvironmentFailed.
    """
    found = {}
    for mutant in plan.mutants:
        if reason := plan.equivalent.get(mutant.key):
            found[mutant.key] = MutantResult(mutant, "equivalent", detail=reason)
    run = mutation_run(plan, trees, cache, options, say)
    for result, _ in run.run(plan.recipes, plan.to_try):
        found[result.mutant.key] = result
        tried(result)
    return [found[mutant.key] for mutant in plan.mutants]


def mutation_run(
    plan: MutationPlan, trees: Trees, cache: Path, options: Options, say: Say
) -> MutationRun:
    """Return what tries the mutants of a plan, with porter's cache folder."""
    jobs = options.capacity()
    session = Session(trees, Places.under(cache), SilentObserver(), replace(options, jobs=jobs))
    return MutationRun(session, cache / "mutants" / plan.port, plan.files, jobs, say)


def _recall(path: Path) -> str | None:
    """Return how a recipe caught the mutant, `PASSED`, or None where nothing is cached."""
    try:
        reason = read_json(path)["caught"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return reason if isinstance(reason, str) else None


def with_mutant(baseline: Baseline, mutant: Mutant) -> RecipePlan:
    """Return the recipe on the mutant's level, with a short time limit: a mutant may never end."""
    planned = baseline.planned
    levels = list(planned.levels)
    levels[baseline.level] = mutant_level(baseline.level_tree, mutant)
    longest = max(baseline.seconds(spec) for spec in baseline.coverage)
    recipe = planned.loaded.recipe
    seconds = min(recipe.limits.seconds, _START_SECONDS + _SLOWER * longest)
    limits = msgspec.structs.replace(recipe.limits, seconds=seconds)
    changed = msgspec.structs.replace(recipe, limits=limits)
    document = replace(planned.loaded.document, value=changed)
    loaded = replace(planned.loaded, document=document)
    return replace(planned, levels=tuple(levels), loaded=loaded)


def _first_bad(
    runs: Runs, baseline: Baseline, planned: RecipePlan, wanted: Sequence[RunSpec]
) -> Verdict | None:
    """Run some points and judge after each; claims across runs are judged at the end."""
    outcomes = dict(baseline.outcomes)
    found: list[Verdict] = []

    def is_enough(spec: RunSpec, outcome: Trace | Failure) -> bool:
        if isinstance(outcome, Failure) and outcome.kind == "stopped":
            raise Stopped
        outcomes[spec] = outcome
        found[:] = [
            verdict
            for verdict in judge(baseline.planned, outcomes)
            if verdict.bad and verdict.claim not in _CLAIMS_ACROSS_RUNS
        ]
        return bool(found)

    runs.outcomes(planned, wanted, until=is_enough)
    found = found or [verdict for verdict in judge(baseline.planned, outcomes) if verdict.bad]
    return found[0] if found else None


def describe(verdict: Verdict) -> str:
    """Return in one line what was measured and allowed where."""
    where = verdict.output or "the run"
    numbers = ""
    if verdict.error is not None and verdict.allowed is not None:
        numbers = f" {verdict.measure} {verdict.error:.3g}, allowed {verdict.allowed:.3g}"
    text = f"{where} {verdict.claim}{numbers}".strip()
    return f"{text}: {verdict.detail}"[:200] if verdict.detail else text


def result_key(mutant: Mutant, baseline: Baseline, **recipe: Any) -> str:
    """Return a hash of the mutant, the runs, the code that judges, and the facts of a recipe."""
    facts = recipe | {
        "judge": judge_hash(),
        "mutant": [mutant_level(baseline.level_tree, mutant).tree, mutant.after],
        "runs": {str(astuple(spec)): known.key for spec, known in baseline.known.items()},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]
