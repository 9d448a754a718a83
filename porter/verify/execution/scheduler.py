"""Make the runs of recipes in parallel, or take them from the cache.

:meth:`Runs.outcomes` makes some runs of one recipe; with ``dataclasses.replace(planned,
levels=...)`` and a session whose ``trees`` know them, also on trees of the caller's own::

    with open_runs(session) as runs:
        outcomes = runs.outcomes(planned, points(planned), until=lambda p, o: no_use_to_go_on)
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from porter.process import Stopped
from porter.scratch import make_scratch
from porter.verify.cache.keys import RunKey, known_runs, probe_hash
from porter.verify.cache.reads import KnownReads
from porter.verify.cache.store import (
    CacheWriteError,
    find_trace,
    has_trace,
    is_whole,
    keep_trace,
    making,
    sandbox_of,
    share_trace,
)
from porter.verify.cache.stored_trace import read_trace
from porter.verify.environment.venv import Environment, EnvironmentFailed
from porter.verify.execution.pool import Retry, WorkerPool
from porter.verify.execution.run_probe import Launcher, launcher, run_folder, run_probe
from porter.verify.execution.sandbox import NONE
from porter.verify.execution.session import Session
from porter.verify.execution.timings import timed, timed_run
from porter.verify.plan.matrix import (
    Failure,
    Job,
    RecipePlan,
    RunSpec,
    claims_on,
    job_of,
    reference_spec,
)

if TYPE_CHECKING:
    from porter.verify.harness.trace import Trace

Until = Callable[[RunSpec, "Trace | Failure"], bool]
"""Called with each outcome as it arrives; True ends the rest."""

LEAST_BYTES = 16 * 2**20
_CHANGED = Failure("probe", "its probe, or a file that the probe names, changed; verify again", "")
FULL = "No space left on device"
"""Text of the system's error, found in the failure of a run that filled the disk."""


@dataclass
class Workspace:
    """The folder that runs work in: the cache's, or a temporary one when the cache's disk is full.

    ``why`` is the reason it is not the cache's; "" when it is. With a full disk traces are not
    cached; the verdict is still reached.
    """

    folder: Path
    why: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fall_back(self, why: str) -> Path:
        """Switch to a temporary folder, once; return it."""
        with self._lock:
            if not self.why:
                self.folder, self.why = make_scratch("runs", LEAST_BYTES), why
            return self.folder


@contextmanager
def open_workspace(runs: Path) -> Iterator[Workspace]:
    """Yield the folder that runs work in: ``runs``, or a temporary one, deleted afterwards."""
    workspace = Workspace(runs)
    try:
        if why := _lack(runs):
            workspace.fall_back(why)
        yield workspace
    finally:
        if workspace.why:
            shutil.rmtree(workspace.folder, ignore_errors=True)


def _lack(runs: Path) -> str:
    """Return why runs cannot work in ``runs``; "" when they can."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=runs):
            free = shutil.disk_usage(runs).free
    except OSError as error:
        return f"{runs}: {error.strerror}"
    return f"{runs}: {free // 2**20} MiB left on its disk" if free < LEAST_BYTES else ""


@dataclass(frozen=True)
class Build:
    """A request to build an environment, or to check a built one. None: torch alone."""

    requirements: Path | None


@dataclass(frozen=True)
class Request:
    """A run that is wanted, and its cache key.

    ``leans_on`` is the key of its reference run when no claim on it can be judged without that;
    ``state`` names the state of the port that it runs on, where two are compared.
    """

    planned: RecipePlan
    spec: RunSpec
    job: Job | Failure
    key: str
    leans_on: str
    environment: Environment
    state: str = ""

    @property
    def title(self) -> str:
        """A short description, unique within a verification."""
        loaded, spec = self.planned.loaded, self.spec
        level = self.planned.levels[spec.level]
        device = "" if spec.device == "cpu" else f", {spec.device}"
        seed = f", seed {spec.seed}" if len(loaded.recipe.seeds) > 1 else ""
        variant = "".join(f", {name}={text}" for name, text in spec.variant)
        where = f"{level.number} {level.name}"
        shaken = ", shaken" if spec.shaken else ""
        state = f", at {self.state}" if self.state else ""
        return f"{self.planned.name}: {where}, {spec.dtype}{device}{seed}{variant}{shaken}{state}"


@dataclass(frozen=True)
class CachedRun:
    """A run's trace. ``cached``: an earlier verification made it; ``not_kept``: why it is not
    kept."""

    folder: Path
    cached: bool = False
    not_kept: str = ""


@dataclass
class Runs:
    """Makes runs for one session; each key once, however often it is requested."""

    session: Session
    start: Launcher
    workspace: Workspace | None = None
    found: dict[str, CachedRun | Failure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._workspace = self.workspace or Workspace(self.session.places.runs)
        self._reads = KnownReads(self.start.hashes)

    def requests(
        self,
        planned: RecipePlan,
        runs: Mapping[RunSpec, RunKey],
        environment: Environment,
        state: str = "",
    ) -> Iterator[Request]:
        """Yield a request for each of a recipe's runs; write its tree where it is missing."""
        for spec, known in runs.items():
            leans_on = ""
            claims = claims_on(planned, spec)
            reference = replace(reference_spec(planned, spec), shaken=False)
            leans = spec.shaken or (claims and all(claim.needs_reference for claim in claims))
            if leans and reference in runs:
                leans_on = runs[reference].key
            with timed(self.session.options.timings, "writing trees", planned.name):
                job = job_of(planned, spec, known.facts, self.session.trees)
            if isinstance(job, Job):
                job = replace(job, base=known.base)
            yield Request(planned, spec, job, known.key, leans_on, environment, state)

    def settle(self, requests: Iterable[Request | Build | None]) -> Generator[Request, None, None]:
        """Find or make requested runs; yield each request when :attr:`found` holds its key.

        A request whose reference failed is yielded without one. A build among the requests runs
        beside them; None says that no request follows before its end. Closing the generator ends
        what is under way.
        """
        stop = threading.Event()
        observer = self.session.observer
        warned = False
        asked: dict[str, list[Request]] = {}
        settled: list[Request] = []

        def unknown() -> Iterator[Request | Build | None]:
            for request in requests:
                if request is None or isinstance(request, Build):
                    yield request
                elif request.key in asked and request.key not in self.found:
                    asked[request.key].append(request)
                elif request.key in self.found or self._look(request):
                    self._share(request)
                    observer.ended(request.title, "cached")
                    settled.append(request)
                else:
                    asked[request.key] = [request]
                    yield request

        def work(task: Request | Build) -> CachedRun | Failure | None:
            if isinstance(task, Request):
                return self._make(task, stop)
            with suppress(EnvironmentFailed):  # the session raises it again for whoever asks
                self.session.environment(task.requirements, self.start.warm, stop)
            return None

        def weight(task: Request | Build) -> int:
            if isinstance(task, Build):
                return 0
            return self.session.options.weight(task.planned.loaded.recipe.threads)

        def is_wanted(task: Request | Build) -> bool:
            return isinstance(task, Build) or not isinstance(self.found.get(task.leans_on), Failure)

        def started(task: Request | Build) -> None:
            if isinstance(task, Request):
                observer.started(task.title)

        parallel = WorkerPool(
            work, self.session.options.capacity(), weight, is_wanted, started, stop
        )
        with closing(parallel.results(unknown())) as results:
            for request, outcome in results:
                how = "dropped"
                if outcome is not None and isinstance(request, Request):
                    self.found[request.key] = outcome
                    how = "failed"
                    if isinstance(outcome, CachedRun):
                        how = "cached" if outcome.cached else "made"
                    if isinstance(outcome, CachedRun) and outcome.not_kept and not warned:
                        warned = True
                        observer.say(f"traces are not kept: {outcome.not_kept}")
                for other in asked.pop(request.key) if isinstance(request, Request) else ():
                    self._share(other)
                    observer.ended(other.title, how)
                    settled.append(other)
                yield from settled
                settled.clear()
        yield from settled

    def outcomes(
        self, planned: RecipePlan, specs: Iterable[RunSpec], until: Until | None = None
    ) -> dict[RunSpec, Trace | Failure]:
        """Return the outcomes of some runs of a recipe; fewer when ``until`` returned True.

        Raises EnvironmentFailed.
        """
        outcomes: dict[RunSpec, Trace | Failure] = {}
        with closing(self._settled(planned, specs)) as settled:
            for request in settled:
                outcome = self.load(request.key)
                if outcome is not None:
                    outcomes[request.spec] = outcome
                    if until is not None and until(request.spec, outcome):
                        break
        return outcomes

    def folders(
        self, planned: RecipePlan, specs: Iterable[RunSpec]
    ) -> dict[RunSpec, Path | Failure]:
        """Return the trace folders of some runs of a recipe, or why a run has none.

        A run that was not made because its reference failed is left out. Raises EnvironmentFailed.
        """
        folders: dict[RunSpec, Path | Failure] = {}
        for request in self._settled(planned, specs):
            if (made := self.found.get(request.key)) is not None:
                folders[request.spec] = made.folder if isinstance(made, CachedRun) else made
        return folders

    def _settled(
        self, planned: RecipePlan, specs: Iterable[RunSpec]
    ) -> Generator[Request, None, None]:
        path = planned.loaded.environment
        environment = self.session.find_environment(path)
        runs = known_runs(planned, specs, environment) if environment else {}
        # With every run in the cache, torch need not be imported to check the environment.
        places, fresh = self.session.places, self.session.options.fresh
        if (
            environment is None
            or fresh
            or not all(has_trace(places, one.facts, one.key) for one in runs.values())
        ):
            environment = self.session.environment(path, self.start.warm)
            runs = known_runs(planned, specs, environment)
        self.session.observer.expect(planned.name, len(runs))
        return self.settle(self.requests(planned, runs, environment))

    def load(self, key: str) -> Trace | Failure | None:
        """Return a run's trace, or why it has none; None when it was not made."""
        made = self.found.get(key)
        if not isinstance(made, CachedRun):
            return made
        from porter.verify.harness.trace import BadTrace

        try:
            return read_trace(made.folder)
        except BadTrace as error:
            shutil.rmtree(made.folder, ignore_errors=True)
            return Failure("trace", f"left a damaged trace: {error}", "")

    def _look(self, request: Request) -> bool:
        """Look for a run in the cache; True when it is found, or cannot be made.

        The trees of one that is not are compared, and mended.
        """
        if isinstance(request.job, Failure):
            self.found[request.key] = request.job
            return True
        places, job, key = self.session.places, request.job, request.key
        fresh = self.session.options.fresh
        folder = None if fresh else self._accepted(find_trace(places, job.facts, key))
        if folder is None:
            self.session.mend_trees(job)
            folder = None if fresh else self._adopt(job, key)
        if folder is None:
            return False
        self.found[request.key] = CachedRun(folder, cached=True)
        return True

    def _adopt(self, job: Job, key: str) -> Path | None:
        """Take the trace of a run on other trees that read nothing but what stands in these."""
        places, facts = self.session.places, job.facts
        if not job.base:
            return None
        among = places.traces / facts.port / facts.recipe
        for folder in self._reads.find(job.base, job.roots, among):
            if is_whole(folder) and self._accepted(folder):
                share_trace(places, facts, key, folder)
                return self._accepted(find_trace(places, facts, key))
        return None

    def _accepted(self, folder: Path | None) -> Path | None:
        """Return a trace's folder if the trace may be used, by the sandbox it was made in."""
        return folder if folder and self.session.accepts(sandbox_of(folder)) else None

    def _share(self, request: Request) -> None:
        """Link the trace to this recipe too, when another recipe made the same run first."""
        made = self.found.get(request.key)
        if isinstance(made, CachedRun) and isinstance(request.job, Job):
            share_trace(self.session.places, request.job.facts, request.key, made.folder)

    def _make(self, request: Request, stop: threading.Event) -> CachedRun | Failure:
        """Make a run, in a worker thread. Raises Retry while another porter process makes it."""
        places, key, job = self.session.places, request.key, request.job
        assert isinstance(job, Job)
        with making(places, key) as mine:
            if not mine:
                raise Retry
            if not self.session.options.fresh:
                # Another porter process may have made it just now, or another machine before.
                for find in (find_trace, self.session.bring_trace):
                    if (folder := self._accepted(find(places, job.facts, key))) is not None:
                        return CachedRun(folder, cached=True)
                if (folder := self._adopt(job, key)) is not None:  # a run on another level is done
                    return CachedRun(folder, cached=True)
            outcome = self._run(request, self._workspace.folder, stop)
            if isinstance(outcome, Failure) and FULL in outcome.reason + outcome.stderr:
                outcome = self._run(request, self._workspace.fall_back(FULL), stop)
                if isinstance(outcome, CachedRun):
                    return replace(outcome, not_kept=f"{places.runs}: {FULL}")
            return outcome

    def _run(self, request: Request, runs: Path, stop: threading.Event) -> CachedRun | Failure:
        """Make a run in a folder under ``runs``; keep its trace."""
        job, python = request.job, request.environment.python
        assert isinstance(job, Job)
        with run_folder(runs) as folder:
            if probe_hash(request.planned.loaded) != job.facts.probe_sha256:
                return _CHANGED
            try:
                if self.session.options.elsewhere is not None:
                    out = self._sent(request, folder, stop)
                else:
                    with timed_run(self.session.options.timings, request.title, folder):
                        out = run_probe(job, python, folder, replace(self.start, stop=stop))
            except Stopped:
                return Failure("stopped", "stopped: no longer needed", "")
            if probe_hash(request.planned.loaded) != job.facts.probe_sha256:
                return _CHANGED
            if isinstance(out, Failure):
                return out
            if self._workspace.why:
                aside = self._workspace.folder / request.key
                out.replace(aside)
                return CachedRun(aside)
            try:
                kept = keep_trace(self.session.places, job.facts, request.key, out)
                self._reads.add(kept)
                if self.session.shared is not None:
                    self.session.shared.offer_trace(kept)
                return CachedRun(kept)
            except CacheWriteError as why:
                aside = self.start.warm.folder / request.key
                out.replace(aside)  # deleted when porter ends
                return CachedRun(aside, not_kept=str(why))

    def _sent(self, request: Request, folder: Path, stop: threading.Event) -> Path | Failure:
        """Have a run made on another machine."""
        options, environment = self.session.options, request.planned.loaded.environment
        assert options.elsewhere is not None
        assert isinstance(request.job, Job)
        make = options.elsewhere.make
        return make(request.job, environment, request.key, folder, options, stop)


@contextmanager
def open_runs(session: Session) -> Iterator[Runs]:
    """Yield a :class:`Runs`; every process it started ends with the block."""
    with (
        open_workspace(session.places.runs) as workspace,
        launcher(workspace.folder, session.options.warm) as start,
    ):
        if workspace.why:
            session.observer.say(
                f"{workspace.why}: runs are made in {workspace.folder}, no trace is kept"
            )
        elsewhere = session.options.elsewhere is not None
        if not elsewhere and session.sandbox.kind == NONE and session.options.sandbox != "off":
            session.observer.say(f"runs are in no sandbox: {session.sandbox.why}")
        asked = session.options.timings is not None
        yield Runs(session, replace(start, sandbox=session.sandbox, stages=asked), workspace)
