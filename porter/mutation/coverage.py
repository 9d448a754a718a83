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

from porter.atomic import write_json
from porter.mutation.mutants import Mutant
from porter.verify.cache.keys import RunKey
from porter.verify.execution.run_probe import Launcher, run_folder, run_probe
from porter.verify.execution.session import Session
from porter.verify.harness.line_coverage import LINES
from porter.verify.harness.trace import Trace
from porter.verify.plan.matrix import Failure, RecipePlan, RunSpec, job_of


@dataclass(frozen=True)
class LineCoverage:
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
    point: RunSpec,
    known: RunKey,
    outcome: Trace | Failure,
    files: Sequence[str],
    session: Session,
    start: Launcher,
    python: Path,
    cache: Path,
) -> LineCoverage:
    """Return which lines of ``files`` a run executes; unless cached, the run is repeated for that.

    A run that launched processes may execute anything in them, and counts as executing everything;
    so does one that fails while its lines are recorded.
    """
    if isinstance(outcome, Failure) or any(n.startswith("launched/") for n in outcome.counters):
        return LineCoverage({}, everything=True)
    names = hashlib.sha256("\0".join(files).encode()).hexdigest()[:16]
    path = cache / f"{known.key}-{names}.json"
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        job = job_of(planned, point, known.facts, session.trees)
        if isinstance(job, Failure):
            return LineCoverage({}, everything=True)
        slower = replace(job, lines=tuple(files), seconds=job.seconds * 3)
        with run_folder(session.places.runs) as folder:
            out = run_probe(slower, python, folder, start)
            if isinstance(out, Failure):
                return LineCoverage({}, everything=True)
            found = json.loads((out / LINES).read_text())
        write_json(path, found)
    return LineCoverage({name: frozenset(lines) for name, lines in found.items()})
