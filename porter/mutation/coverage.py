"""Which runs of a port's recipes execute which lines of a level.

A mutant is tried only on runs that execute its line: on the others it changes nothing, since a run
depends on the tree through the code that it runs. What a run of a level met is kept in the cache
under the key of its trace.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from porter.atomic import write_json
from porter.mutation.mutants import Mutant
from porter.verify.cache.keys import RunKey
from porter.verify.execution.run_probe import Launcher, run_folder, run_probe
from porter.verify.execution.session import Session
from porter.verify.harness.line_coverage import LINES
from porter.verify.harness.trace import Trace
from porter.verify.plan.job import Failure, Job, job_of
from porter.verify.plan.matrix import RecipePlan, RunSpec


@dataclass(frozen=True)
class Coverage:
    """The lines that one run executes, by file; ``everything`` where that cannot be told."""

    lines: Mapping[str, frozenset[int]]
    everything: bool = False

    def holds(self, mutant: Mutant) -> bool:
        """Whether the run executes any line of the mutant's statement."""
        first, last = mutant.statement
        met = self.lines.get(mutant.path, frozenset())
        return self.everything or any(line in met for line in range(first, last + 1))


def find_reach(
    planned: RecipePlan,
    point: RunSpec,
    known: RunKey,
    outcome: Trace,
    files: Sequence[str],
    session: Session,
    start: Launcher,
    python: Path,
    kept: Path,
) -> Coverage:
    """Return what a run executes of ``files``; the run is made once more for that.

    A run that launched processes may execute anything in them, and counts as executing everything;
    so does one that fails while it is watched.
    """
    if any(name.startswith("launched/") for name in outcome.counters):
        return Coverage({}, everything=True)
    names = hashlib.sha256("\0".join(files).encode()).hexdigest()[:16]
    place = kept / f"{known.key}-{names}.json"
    try:
        found = json.loads(place.read_text())
    except (OSError, ValueError):
        job = job_of(planned, point, known.facts, session.trees)
        if isinstance(job, Failure):
            return Coverage({}, everything=True)
        found = _watch(replace(job, lines=tuple(files)), session, start, python)
        if found is None:
            return Coverage({}, everything=True)
        write_json(place, found)
    return Coverage({name: frozenset(lines) for name, lines in found.items()})


def _watch(
    job: Job, session: Session, start: Launcher, python: Path
) -> dict[str, list[int]] | None:
    slower = replace(job, seconds=job.seconds * 3)
    with run_folder(session.places.runs) as folder:
        out = run_probe(slower, python, folder, start)
        if isinstance(out, Failure):
            return None
        found: dict[str, list[int]] = json.loads((out / LINES).read_text())
        return found
