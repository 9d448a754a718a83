"""Which lines of a level each run of a port's recipes executes.

A mutant is tried only on runs that execute its line: a run depends on the tree through the code it
executes, so on the others it changes nothing. The lines are cached under the key of the run's
trace.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from porter.atomic import read_json, write_json
from porter.mutation.mutants import Mutant
from porter.verify.cache.keys import RunKey
from porter.verify.execution.run_probe import Launcher, run_folder, run_probe
from porter.verify.execution.session import Session
from porter.verify.harness.line_coverage import LINES
from porter.verify.harness.trace import Trace
from porter.verify.plan.matrix import Failure, Job, RecipePlan, RunSpec, job_of


@dataclass(frozen=True)
class RecipeCoverage:
    """The lines that one run executes, by file; ``everything`` where they are not known."""

    lines: Mapping[str, frozenset[int]]
    everything: bool = False

    def includes(self, mutant: Mutant) -> bool:
        """Whether the run executes any line of the mutant's statement."""
        first, last = mutant.statement
        executed = self.lines.get(mutant.path, frozenset())
        return self.everything or any(line in executed for line in range(first, last + 1))


def find_coverage(
    planned: RecipePlan,
    spec: RunSpec,
    known: RunKey,
    outcome: Trace | Failure,
    files: Sequence[str],
    session: Session,
    start: Launcher,
    python: Path,
    cache: Path,
) -> RecipeCoverage:
    """Return which lines of ``files`` a run executes; unless cached, the run is repeated for that.

    A run that launched processes may execute anything in them, and counts as executing everything;
    so does one that fails while its lines are recorded.
    """
    if isinstance(outcome, Failure) or any(n.startswith("launched/") for n in outcome.counters):
        return RecipeCoverage({}, everything=True)
    names = hashlib.sha256("\0".join(files).encode()).hexdigest()[:16]
    path = cache / f"{known.key}-{names}.json"
    try:
        found = read_json(path)
    except (OSError, ValueError):
        job = job_of(planned, spec, known.facts, session.trees)
        if isinstance(job, Failure):
            return RecipeCoverage({}, everything=True)
        found = _record_lines(replace(job, lines=tuple(files)), session, start, python)
        if found is None:
            return RecipeCoverage({}, everything=True)
        write_json(path, found)
    return RecipeCoverage({name: frozenset(lines) for name, lines in found.items()})


def _record_lines(
    job: Job, session: Session, start: Launcher, python: Path
) -> dict[str, list[int]] | None:
    slower = replace(job, seconds=job.seconds * 3)
    with run_folder(session.places.runs) as folder:
        out = run_probe(slower, python, folder, start)
        if isinstance(out, Failure):
            return None
        found: dict[str, list[int]] = json.loads((out / LINES).read_text())
        return found
