"""Find the cached runs of earlier verifications that match a recipe's runs, and judge them.

A stored run matches when it ran the level's own tree with the current text of recipe and probe, on
the same device, dtype, seed and variant. Environment, machine and porter's version may differ: they
are shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.verify.cache.keys import RunKey, programs, verdict_key
from porter.verify.cache.store import Places, find_verdicts
from porter.verify.cache.stored_trace import read_head, read_trace
from porter.verify.harness.run_info import HEAD, TENSORS, RunFacts
from porter.verify.judge import judge
from porter.verify.plan.matrix import Failure, RecipePlan, RunSpec, run_specs

if TYPE_CHECKING:
    import torch

    from porter.verify.harness.trace import Trace
    from porter.verify.judge.result import Verdict

NOT_STORED = "no run of it is stored"


@dataclass(frozen=True)
class StoredRun:
    """One trace folder; ``head`` is its ``trace.json``, ``time`` when that was written."""

    folder: Path
    head: Mapping[str, Any]
    time: float

    @property
    def counters(self) -> Mapping[str, float]:
        counters: Mapping[str, float] = self.head["counters"]
        return counters

    @property
    def outputs(self) -> Mapping[str, Mapping[str, Any]]:
        """The recorded outputs: name -> ``shape``, ``dtype`` and ``kind``."""
        outputs: Mapping[str, Mapping[str, Any]] = self.head["outputs"]
        return outputs

    def tensor(self, output: str) -> torch.Tensor:
        """Read one output. Imports torch; raises OSError or safetensors' own for a damaged file."""
        from safetensors import safe_open

        with safe_open(str(self.folder / TENSORS), "pt") as file:
            found: torch.Tensor = file.get_tensor(output)
        return found

    @property
    def device_title(self) -> str:
        """The hardware's name, with "simulated" for a simulated device."""
        return str(self.head.get("device_title") or self.head["facts"]["device"])

    @property
    def sandbox(self) -> str:
        """What held the run: "namespaces", "bubblewrap", "none", or "" for an older trace."""
        return str(self.head.get("sandbox") or "")


def stored_runs(traces: Path, planned: RecipePlan) -> dict[RunSpec, StoredRun]:
    """Return the newest stored run of each of a recipe's runs that has one."""
    loaded = planned.loaded
    names: Iterable[str] = ()
    wanted: dict[str, list[RunSpec]] = {}
    for spec, program in programs(planned, run_specs(planned)).items():
        names = program.keys()
        wanted.setdefault(json.dumps(program, sort_keys=True), []).append(spec)
    found: dict[RunSpec, StoredRun] = {}
    for run in sorted(_runs_under(traces / loaded.port / loaded.name), key=lambda run: run.time):
        own = {name: run.head["facts"].get(name) for name in names}
        own["shaken"] = bool(own.get("shaken"))  # older runs do not record it
        for spec in wanted.get(json.dumps(own, sort_keys=True), ()):
            found[spec] = run
    return found


def _runs_under(folder: Path) -> list[StoredRun]:
    runs = []
    for path in sorted(folder.glob(f"*/{HEAD}")):
        try:
            head = read_head(path.parent)
            runs.append(StoredRun(path.parent, head, path.stat().st_mtime))
        except (OSError, ValueError):
            continue  # cut short, or being written now
    return runs


@dataclass(frozen=True)
class JudgedRecipe:
    """A recipe, its stored runs, those that are missing, and the verdicts."""

    planned: RecipePlan
    runs: Mapping[RunSpec, StoredRun]
    missing: frozenset[RunSpec]
    verdicts: tuple[Verdict, ...]


def judge_stored(places: Places, planned: RecipePlan) -> JudgedRecipe:
    """Judge the stored runs of a recipe.

    Cached verdicts on exactly these runs are used; only without them torch is imported and the
    tensors are compared again.
    """
    wanted = run_specs(planned)
    runs = stored_runs(places.traces, planned)
    verdicts: Iterable[Verdict] = ()
    if len(runs) == len(wanted):
        known = {
            at: RunKey(RunFacts(**runs[at].head["facts"]), runs[at].folder.name) for at in wanted
        }
        loaded = planned.loaded
        cached = find_verdicts(places, loaded.port, loaded.name, verdict_key(planned, known))
        if cached is not None:
            return JudgedRecipe(planned, runs, frozenset(), cached.verdicts)
    if runs:
        verdicts = _judge_again(planned, runs)
    return JudgedRecipe(planned, runs, frozenset(wanted) - runs.keys(), tuple(verdicts))


def _judge_again(planned: RecipePlan, runs: Mapping[RunSpec, StoredRun]) -> list[Verdict]:
    """Compare the tensors. Claims that need a missing run get no verdict."""
    from porter.verify.harness.trace import BadTrace

    outcomes: dict[RunSpec, Trace | Failure] = {}
    for spec in run_specs(planned):
        outcomes[spec] = Failure("missing", NOT_STORED, "")
        if spec in runs:
            try:
                outcomes[spec] = read_trace(runs[spec].folder)
            except BadTrace:
                continue
    return [v for v in judge(planned, outcomes) if NOT_STORED not in v.detail]
