"""Execute a plan, reusing cached verdicts.

Runs of all recipes are made in parallel, beside the building of environments. Results are yielded
recipe by recipe, in the order of :func:`in_order`: those with a built environment run first. An
unchanged recipe costs a look-up of its keys: no run, and no import of torch.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from porter.verify.cache.keys import RunKey, known_runs, verdict_key
from porter.verify.cache.record import is_recorded, write_record
from porter.verify.cache.store import (
    CacheWriteError,
    find_verdicts,
    has_trace,
    keep_verdicts,
    usual_seconds,
)
from porter.verify.environment.venv import EnvironmentFailed
from porter.verify.execution.scheduler import Build, CachedRun, Request, Runs, open_runs
from porter.verify.execution.session import Session
from porter.verify.execution.timings import timed
from porter.verify.judge import judge
from porter.verify.judge.result import RecipeResult, Verdict
from porter.verify.plan.matrix import Failure, RecipePlan, RunSpec, run_specs
from porter.verify.plan.select import Plan

if TYPE_CHECKING:
    from porter.verify.harness.trace import Trace


def execute(plan: Plan, session: Session) -> Iterator[RecipeResult]:
    """Verify every planned recipe; yield the results in the order of :func:`in_order`."""
    parts = [_begin(planned, session) for planned in in_order(plan.recipes, session)]
    for part in parts:
        if part.result is None:
            loaded = part.planned.loaded
            seconds = usual_seconds(session.places, loaded.port, loaded.name)
            session.observer.expect(part.planned.name, len(part.open), seconds)
    waiting = deque(parts)
    yield from _ready(waiting)
    if not waiting:
        return
    with open_runs(session) as runs, closing(_settled(waiting, runs)) as settled:
        for part in settled:
            part.finish(runs)
            yield from _ready(waiting)


def _ready(waiting: deque[_Part]) -> Iterator[RecipeResult]:
    """Yield results from the front of the queue until one is missing."""
    while waiting and (result := waiting[0].result) is not None:
        waiting.popleft()
        yield result


def _settled(waiting: Iterable[_Part], runs: Runs) -> Generator[_Part, None, None]:
    """Make the runs of several recipes; yield each recipe after the last of its runs."""
    parts = [part for part in waiting if part.result is None]
    by_planned = {id(part.planned): part for part in parts}
    failed: list[_Part] = []

    def requests() -> Iterator[Request | Build | None]:
        for part in _schedule(parts, runs.session):
            if part is None or isinstance(part, Build):
                yield part
                continue
            try:
                yield from part.requests(runs)
            except EnvironmentFailed as error:
                part.fail(str(error))
                failed.append(part)

    with closing(runs.settle(requests())) as settled:
        for request in settled:
            part = by_planned[id(request.planned)]
            part.open.discard(request.spec)
            if not part.open:
                yield part
            yield from failed
            failed.clear()
    yield from failed


def in_order(recipes: Iterable[RecipePlan], session: Session) -> list[RecipePlan]:
    """Return recipes in the order of their results.

    Those that need no environment of their own come first, then those whose environments are
    built already, then by environment, in the order of building; else the given order is kept.
    """
    given = list(recipes)
    paths = list(dict.fromkeys(planned.loaded.environment for planned in given))
    is_built = {path: session.find_environment(path) is not None for path in paths}

    def place(planned: RecipePlan) -> tuple[bool, bool, int]:
        path = planned.loaded.environment
        return path is not None, not is_built[path], paths.index(path)

    return sorted(given, key=place)


def _schedule(parts: Iterable[_Part], session: Session) -> Iterator[_Part | Build | None]:
    """Yield parts as their environments become available, and the builds still needed.

    pip builds in a process of its own and mostly waits, so a build takes no capacity from runs. One
    environment is built at a time, in order of need; when there is nothing to run, as many as there
    is capacity for. None is yielded while every part that is left waits for a build.
    """

    def is_to_be_built(path: Path | None) -> bool:
        return not session.is_known(path) and session.find_environment(path) is None

    left = list(parts)
    asked: set[Path | None] = set()
    while left:
        wanted = dict.fromkeys(part.planned.loaded.environment for part in left)
        lacking = [path for path in wanted if is_to_be_built(path)]
        to_start = [path for path in lacking if path not in asked]
        under_way = len(lacking) - len(to_start)
        if to_start and not under_way:
            asked.add(to_start[0])
            yield Build(to_start[0])
            continue
        for part in left:
            path = part.planned.loaded.environment
            if session.is_known(path):
                left.remove(part)
                yield part
                break
            if path not in asked and path not in lacking:
                asked.add(path)
                yield Build(path)  # built: check that its torch can be imported
                break
        else:
            if to_start and under_way < session.options.capacity():
                asked.add(to_start[0])
                yield Build(to_start[0])
            else:
                yield None


def _begin(planned: RecipePlan, session: Session) -> _Part:
    """Look a recipe's verdicts up in the cache; with them its part is done."""
    chosen = run_specs(planned)
    part = _Part(planned, session, open=set(chosen))
    if session.options.fresh:
        return part
    environment = session.find_environment(planned.loaded.environment)
    if environment is None:
        return part
    runs = known_runs(planned, chosen, environment)
    places, loaded = session.places, planned.loaded
    known = find_verdicts(places, loaded.port, loaded.name, verdict_key(planned, runs))
    if known is not None and not session.accepts(known.sandbox):
        known = None
    if known is not None and all(has_trace(places, one.facts, one.key) for one in runs.values()):
        seconds = time.monotonic() - part.began
        part.result = replace(known, cached=known.runs, seconds=seconds)
        part.known = runs
        part.record({}, verdict_key(planned, runs))
    return part


@dataclass
class _Part:
    """One recipe of a verification, from its keys to its result; ``open`` are its missing runs."""

    planned: RecipePlan
    session: Session
    open: set[RunSpec]
    result: RecipeResult | None = None
    known: dict[RunSpec, RunKey] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def requests(self, runs: Runs) -> Iterator[Request]:
        """Yield the requests for all runs. Raises EnvironmentFailed."""
        self.began = time.monotonic()  # the time of building its environment is not its own
        path = self.planned.loaded.environment
        environment = self.session.environment(path, runs.start.warm)
        self.known = known_runs(self.planned, run_specs(self.planned), environment)
        yield from runs.requests(self.planned, self.known, environment)

    def finish(self, runs: Runs) -> None:
        """Judge the runs; cache the verdicts when every run left a trace."""
        if self.result is not None:
            return
        timings, name = self.session.options.timings, self.planned.name
        with timed(timings, "reading traces", name):
            loaded = {key: runs.load(key) for key in {one.key for one in self.known.values()}}
        outcomes = {
            spec: outcome
            for spec, one in self.known.items()
            if (outcome := loaded[one.key]) is not None
        }
        made = [runs.found[key] for key in loaded if key in runs.found]
        cached = sum(isinstance(one, CachedRun) and one.cached for one in made)
        warning = warnings_of(outcomes)
        kinds = {one.sandbox for one in outcomes.values() if not isinstance(one, Failure)}
        with timed(timings, "judging", name):
            verdicts = judge(self.planned, outcomes)
        self.result = replace(
            self._result(verdicts, len(made), cached, warning), sandbox=", ".join(sorted(kinds))
        )
        key = verdict_key(self.planned, self.known)
        if all(isinstance(one, CachedRun) for one in made) and len(made) == len(loaded):
            try:
                keep_verdicts(self.session.places, self.result, key)
            except CacheWriteError as why:
                self.session.observer.say(f"verdicts of {self.planned.name} are not kept: {why}")
        self.record({k: one for k, one in loaded.items() if isinstance(one, Failure)}, key)

    def record(self, failures: Mapping[str, Failure], key: str) -> None:
        """Write the record beside the traces, so that they can be judged again.

        It is that of the port's own levels: of a foreign tree none is written.
        """
        places = self.session.places
        if self.result is None or self.planned.is_foreign:
            return
        if is_recorded(places, self.planned, key):
            return
        try:
            write_record(places, self.planned, self.known, failures, self.result, key)
        except CacheWriteError as why:
            self.session.observer.say(f"the record of {self.planned.name} is not kept: {why}")

    def fail(self, detail: str) -> None:
        """Set an error as the recipe's result: none of its runs can be made."""
        upstream = self.planned.levels[0].name
        self.result = self._result(
            [Verdict(0, upstream, "", 0, "", "", "error", detail=detail)], 0, 0
        )

    def _result(
        self, verdicts: list[Verdict], runs: int, cached: int, warning: tuple[str, ...] = ()
    ) -> RecipeResult:
        loaded = self.planned.loaded
        return RecipeResult(
            port=loaded.port,
            recipe=loaded.name,
            title=loaded.recipe.title,
            verdicts=tuple(verdicts),
            runs=runs,
            seconds=time.monotonic() - self.began,
            cached=cached,
            warnings=warning,
        )


def warnings_of(outcomes: Mapping[RunSpec, Trace | Failure]) -> tuple[str, ...]:
    """Return the warnings of runs, each kind once, with the first run that gave it.

    Warnings are of one kind when they agree up to the first colon and from the last colon on,
    numbers aside: those about the same module, for example.
    """
    kinds: dict[tuple[str, str], dict[str, dict[RunSpec, None]]] = {}
    for spec, outcome in outcomes.items():
        for warning in () if isinstance(outcome, Failure) else outcome.warnings:
            plain = re.sub(r"\d[\d.,]*", "0", warning)
            kind = plain.partition(":")[0], plain.rpartition(":")[2]
            kinds.setdefault(kind, {}).setdefault(warning, {})[spec] = None
    found = []
    for texts in kinds.values():
        warned = list(dict.fromkeys(spec for warning in texts.values() for spec in warning))
        first = warned[0]
        more = f" and {len(warned) - 1} more" if len(warned) > 1 else ""
        alike = f" (and {len(texts) - 1} more like this)" if len(texts) > 1 else ""
        where = f"level {first.level}, {first.device}, {first.dtype}{more}"
        found.append(f"{where}: {next(iter(texts))}{alike}")
    return tuple(found)
