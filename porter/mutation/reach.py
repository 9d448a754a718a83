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

from porter.kept import keep
from porter.mutation.mutants import Mutant
from porter.verify.jobs import job_of
from porter.verify.keys import Known
from porter.verify.lines_met import LINES
from porter.verify.planned import Planned
from porter.verify.points import Point
from porter.verify.run import Failure, Job, Launcher, run_folder, run_probe
from porter.verify.session import Session
from porter.verify.trace import Trace


@dataclass(frozen=True)
class Reach:
    """The lines that one run executes, by file; ``everything`` where that cannot be told."""

    lines: Mapping[str, frozenset[int]]
    everything: bool = False

    def holds(self, mutant: Mutant) -> bool:
        """Whether the run executes any line of the mutant's statement."""
        first, last = mutant.statement
        met = self.lines.get(mutant.path, frozenset())
        return self.everything or any(line in met for line in range(first, last + 1))


def find_reach(
    planned: Planned,
    point: Point,
    known: Known,
    outcome: Trace,
    files: Sequence[str],
    session: Session,
    start: Launcher,
    python: Path,
    kept: Path,
) -> Reach:
    """Return what a run executes of ``files``; the run is made once more for that.

    A run that launched processes may execute anything in them, and counts as executing everything;
    so does one that fails while it is watched.
    """
    if any(name.startswith("launched/") for name in outcome.counters):
        return Reach({}, everything=True)
    names = hashlib.sha256("\0".join(files).encode()).hexdigest()[:16]
    place = kept / f"{known.key}-{names}.json"
    try:
        found = json.loads(place.read_text())
    except (OSError, ValueError):
        job = job_of(planned, point, known.facts, session.trees)
        if isinstance(job, Failure):
            return Reach({}, everything=True)
        found = _watch(replace(job, lines=tuple(files)), session, start, python)
        if found is None:
            return Reach({}, everything=True)
        keep(place, found)
    return Reach({name: frozenset(lines) for name, lines in found.items()})


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
