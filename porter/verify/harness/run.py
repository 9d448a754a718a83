"""Execute a job: open the device, run the probe, write the trace.

Called by :mod:`porter.verify.harness.main` in the probe's own process.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import resource
import sys
import time
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from porter.device import Device
from porter.verify.harness import events, network, trace
from porter.verify.harness.api import Probe, ProbeError
from porter.verify.harness.line_coverage import LINES, LineCoverage
from porter.verify.harness.opened import OPENED, record_opened
from porter.verify.harness.recording import Enough
from porter.verify.harness.run_info import RunFacts
from porter.verify.harness.stages import PROBE_STAGE, Stages
from porter.verify.harness.subprocesses import Launches

NATIVE = "native"
"""The dtype of a recipe whose probe or script chooses dtypes itself."""


def run(job: dict[str, Any], out: Path, stages: Stages) -> None:
    """Run the job's probe and write its trace."""
    stages.enter("opening the device")
    facts = RunFacts(**job["facts"])
    is_native = facts.dtype == NATIVE
    dtype = torch.float32 if is_native else getattr(torch, facts.dtype)
    torch.set_num_threads(facts.threads)
    network.forbid()
    record, trees = out.parent / OPENED, [job["tree"], *job["companions"].values()]
    if job["base"]:
        record.touch()
        record_opened(str(record), trees)
    sys.path[:0] = job["source_roots"]
    if dtype == torch.float64:
        torch.set_default_dtype(torch.float64)
    roots = site_roots(job)
    recorded = {str(record): trees} if job["base"] else {}
    launches = Launches(out.parent / "launch", facts.device, job["source_roots"], roots, recorded)
    device = events.open_logged_device(facts.device, Path(job["tree"]))
    probe = Probe(
        dtype=dtype,
        is_native=is_native,
        device=device,
        seed=facts.seed,
        parameters=job["parameters"],
        tree=Path(job["tree"]),
        companions={name: Path(folder) for name, folder in job["companions"].items()},
        folder=Path(job["probe"]).parent,
        scratch=Path.cwd(),
        shaken=facts.shaken,
        of_level=(facts.level, facts.level_name) if facts.asks_level else None,
    )
    coverage = LineCoverage(Path(job["tree"]), job["lines"])
    if job["lines"]:
        coverage.start()
    began = time.monotonic()
    stages.enter(PROBE_STAGE)
    if job["stages"]:
        stages.sample()
    if job["activations"]:
        run_recorded(job, probe, roots, out)
    else:
        run_probe(job, probe)
    seconds = time.monotonic() - began
    stages.enter("writing the trace")
    if job["lines"]:
        (out / LINES).write_text(json.dumps(coverage.executed()), encoding="utf-8")
    probe.finish()
    write_trace(out, facts, probe, device, seconds, launches, roots, job["sandbox"])


def run_probe(job: dict[str, Any], probe: Probe) -> None:
    """Import the probe file and call its ``run``."""
    module = load_probe(Path(job["probe"]))
    if not callable(getattr(module, "run", None)):
        raise ProbeError(f"{job['probe']}: expected a function run(probe), found none")
    probe.seed_everything()
    module.run(probe)
    if not probe.outputs and not probe.counters and not probe.failures:
        raise ProbeError("recorded nothing; call probe.record(name, tensor)")


def run_recorded(job: dict[str, Any], probe: Probe, roots: Mapping[Path, str], out: Path) -> None:
    """Run the probe with its activations recorded, until the last one requested."""
    from porter.verify.harness.activations import Recorder

    probe.recorder = Recorder(job["activations"], roots)
    probe.recorder.start()
    try:
        run_probe(job, probe)
    except Enough:
        pass
    finally:
        probe.recorder.stop()
    probe.warnings += probe.recorder.write(out)


def write_trace(
    out: Path,
    facts: RunFacts,
    probe: Probe,
    device: Device,
    seconds: float,
    launches: Launches,
    roots: Mapping[Path, str],
    sandbox: str,
) -> None:
    """Write all files of the run, ``trace.json`` last."""
    counters, launched_events, launched_migration = launches.collect()
    found = [*probe.events, *events.of_device(device, roots), *launched_events]
    rows = (json.dumps(event, ensure_ascii=False) for event in found)
    events.write_lines(out / events.EVENTS, rows)
    migration = [*events.migration_lines(roots), *launched_migration]
    events.write_lines(out / events.MIGRATION, migration)
    # Linux counts kibibytes, macOS bytes.
    unit = 1024 if sys.platform == "linux" else 1
    trace.write(
        out,
        trace.Trace(
            facts=facts,
            versions=versions(),
            device_title=device.title(),
            counters=probe.counters | counters,
            seconds=seconds,
            peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
            outputs=probe.outputs,
            kinds=probe.kinds,
            failures=probe.failures,
            warnings=tuple(probe.warnings),
            sandbox=sandbox,
        ),
    )


def load_probe(path: Path) -> types.ModuleType:
    """Import the probe file; its folder comes last on ``sys.path``."""
    sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(f"porter_probe_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def versions() -> dict[str, str]:
    """Return the versions of the environment: interpreter, platform, every distribution."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for distribution in importlib.metadata.distributions():
        # Imports find the first one on sys.path. A damaged one has no name.
        if name := distribution.metadata["Name"]:
            found.setdefault(name, distribution.version)
    return found


def site_roots(job: dict[str, Any]) -> dict[Path, str]:
    """Return folder -> shown name: "" for the tree, and prefixes for companions and the probe."""
    roots = {Path(job["tree"]): ""}
    roots |= {Path(folder): f"companion {name}" for name, folder in job["companions"].items()}
    return roots | {Path(job["probe"]).parent: events.PROBE}
