"""Run a probe once on a tree written on the spot: no recipe, no levels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import dedent
from typing import Any

from porter.verify.execution import run_probe as run
from porter.verify.execution.run_probe import Launcher, run_folder, run_probe
from porter.verify.harness import trace
from porter.verify.harness.run_info import RunFacts
from porter.verify.harness.trace import Trace
from porter.verify.plan.matrix import Failure, Job
from tests.processes import PATIENCE


def job_for(folder: Path, code: str, seconds: float = PATIENCE, memory_mib: int = 2048) -> Job:
    folder.mkdir(exist_ok=True)
    (folder / "probe_file.py").write_text(dedent(code))
    (folder / "tree").mkdir(exist_ok=True)
    facts = RunFacts(
        port="port",
        recipe="one",
        recipe_sha256="a",
        inputs_sha256="b",
        probe_sha256="c",
        level=0,
        level_name="upstream",
        tree="d",
        companions={},
        dtype="float32",
        device="cpu",
        seed=3,
        threads=1,
        environment="e",
        engine="f",
    )
    return Job(
        facts=facts,
        probe=folder / "probe_file.py",
        parameters={"size": 2},
        tree=folder / "tree",
        source_roots=(folder / "tree",),
        companions={},
        seconds=seconds,
        memory_bytes=memory_mib * 2**20,
    )


def ended_late(run: Callable[[int], Failure], function: str) -> tuple[Failure, int]:
    """Give a run more time until it hangs in ``function`` when it is killed; return both."""
    for seconds in (6, 15, 50, 180):
        failure = run(seconds)
        if function in failure.stderr:
            break
    return failure, seconds


@dataclass
class SingleRun:
    """Runs probes; ``left`` is the folder of the last one's trace."""

    base: Path
    python: Path
    start: Launcher

    @property
    def left(self) -> Path:
        return self.base / "left"

    def outcome(
        self,
        code: str,
        files: Mapping[str, str] | None = None,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        environ: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        seconds: float = 300,
        activations: str = "",
        base: str = "",
    ) -> Trace | Failure:
        """Run a probe's code on a tree of ``files`` (path -> text)."""
        shutil.rmtree(self.base / "job", ignore_errors=True)
        shutil.rmtree(self.left, ignore_errors=True)
        job = job_for(self.base / "job", code, seconds=seconds)
        for path, text in (files or {}).items():
            file = job.tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(text))
        facts = replace(job.facts, device=device, dtype=dtype, environ=dict(environ or {}))
        job = replace(job, facts=facts, parameters=parameters or {}, activations=activations)
        job = replace(job, base=base)
        with run_folder(self.base / "runs") as folder:
            out = run_probe(job, self.python, folder, self.start)
            if isinstance(out, Failure):
                return out
            out.replace(self.left)
        return trace.read(self.left)

    def trace(self, code: str, files: Mapping[str, str] | None = None, **how: Any) -> Trace:
        """Run it; it must succeed."""
        outcome = self.outcome(code, files, **how)
        assert isinstance(outcome, Trace), f"{outcome.reason}\n{outcome.stderr}"
        return outcome

    def failure(self, code: str, files: Mapping[str, str] | None = None, **how: Any) -> Failure:
        """Run it; it must fail."""
        outcome = self.outcome(code, files, **how)
        assert isinstance(outcome, Failure)
        return outcome

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the objects of a JSON-lines file of the last trace."""
        return [json.loads(line) for line in (self.left / name).read_text().splitlines()]


@contextmanager
def single_runs(base: Path, python: Path) -> Iterator[SingleRun]:
    """Give an object that runs probes once each, forked where that is possible."""
    with run.launcher(base / "runs") as start:
        yield SingleRun(base, python, start)
