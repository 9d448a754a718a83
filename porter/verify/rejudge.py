"""Judge stored traces again, by changed claims or thresholds, without running anything."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from porter.errors import BadInput
from porter.verify.cache.keys import environ_of
from porter.verify.cache.record import RECORD, Record, plan_again, read_record, recorded_recipe
from porter.verify.cache.stored_trace import read_trace
from porter.verify.judge import judge
from porter.verify.judge.result import RecipeResult, Verdict, Word
from porter.verify.plan.matrix import Failure, RecipePlan, RunSpec
from porter.verify.recipe.load import LoadedRecipe, load_recipe

if TYPE_CHECKING:
    from porter.verify.harness.trace import Trace


@dataclass(frozen=True)
class Change:
    """A claim whose verdict changed; None: no verdict on it before, or now."""

    verdict: Verdict
    before: Word | None
    now: Word | None


@dataclass(frozen=True)
class Rejudged:
    """The result of judging stored traces again, and its changes against the record."""

    planned: RecipePlan
    result: RecipeResult
    changes: tuple[Change, ...]


def find_records(path: Path) -> dict[Path, set[str]]:
    """Return the records at or below a path, each with the traces to judge (none: all).

    A path is the folder of a trace, the folder of a recipe's traces, a record, or a folder above
    these. Raises BadInput without any record.
    """
    if path.is_file() and path.name == RECORD:
        return {path: set()}
    if (path.parent / RECORD).is_file() and (path / "trace.json").is_file():
        return {path.parent / RECORD: {path.name}}
    found = sorted(path.rglob(RECORD)) if path.is_dir() else []
    if not found:
        raise BadInput(
            f"{path}: expected traces of `porter verify` (a folder with {RECORD}), found none"
        )
    return {record: set() for record in found}


def rejudge(path: Path, traces: set[str], recipes: Path | None) -> Rejudged:
    """Judge the runs of a record by the recipe in ``recipes`` (None: by the recorded recipe).

    ``traces`` restricts the verdicts to those runs. Raises BadInput.
    """
    began = time.monotonic()
    record = read_record(path)
    loaded = _recipe(record, path, recipes).with_threads(record.threads)
    planned = plan_again(record, loaded)
    stored = _Stored(path.parent, record, loaded)
    wanted = {run.spec for run in record.runs if run.trace in traces}
    verdicts = [v for v in judge(planned, stored) if not traces or _spec(v) in wanted]
    before = [v for v in record.verdicts if not traces or _spec(v) in wanted]
    result = RecipeResult(
        record.port,
        record.recipe,
        loaded.recipe.title,
        tuple(verdicts),
        stored.read,
        time.monotonic() - began,
        stored.read,
    )
    return Rejudged(planned, result, tuple(_changes(before, verdicts)))


def _recipe(record: Record, path: Path, recipes: Path | None) -> LoadedRecipe:
    if recipes is None:
        return recorded_recipe(record, path)
    current = recipes / record.port / f"{record.recipe}.yaml"
    if not current.is_file():
        raise BadInput(
            f"{current}: expected the recipe of these traces, found none; "
            "--as-recorded judges by the recipe of that time"
        )
    return load_recipe(current)


class _Stored(Mapping[RunSpec, "Trace | Failure"]):
    """The outcomes of a record's runs, read on demand; ``read`` counts them."""

    def __init__(self, folder: Path, record: Record, loaded: LoadedRecipe) -> None:
        self._folder = folder
        self._runs = {run.spec: run for run in record.runs}
        self._loaded = loaded
        self._inputs = loaded.inputs_sha256()
        self._traces: dict[str, Trace | Failure] = {}
        self.read = 0

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[RunSpec]:
        return iter(self._runs)

    def __getitem__(self, spec: RunSpec) -> Trace | Failure:
        run = self._runs[spec]
        if run.failure is not None:
            return run.failure
        if run.trace not in self._traces:
            self._traces[run.trace] = self._load(run.trace, spec)
            self.read += 1
        return self._traces[run.trace]

    def _load(self, key: str, spec: RunSpec) -> Trace | Failure:
        from porter.verify.harness.trace import BadTrace

        try:
            found = read_trace(self._folder / key)
        except BadTrace as error:
            return Failure("trace", f"its trace is gone: {error}", "")
        if found.facts.inputs_sha256 != self._inputs:
            return Failure("trace", "was run with other parameters; porter verify runs it", "")
        if found.facts.environ != environ_of(self._loaded, spec):
            return Failure("trace", "was run with another environ; porter verify runs it", "")
        return found


def _spec(verdict: Verdict) -> RunSpec:
    return RunSpec(verdict.level, verdict.device, verdict.dtype, verdict.seed, verdict.variant)


def _changes(before: list[Verdict], now: list[Verdict]) -> Iterator[Change]:
    old, new = ({_claim(v): v for v in several} for several in (before, now))
    for claim in dict.fromkeys((*old, *new)):
        was, is_now = old.get(claim), new.get(claim)
        words = was.word if was else None, is_now.word if is_now else None
        verdict = is_now or was
        if words[0] != words[1] and verdict is not None:
            yield Change(verdict, *words)


def _claim(verdict: Verdict) -> tuple[object, ...]:
    return _spec(verdict), verdict.subject, verdict.output, verdict.claim
