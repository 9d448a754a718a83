"""One run of a probe: the program that the probe's own interpreter executes.

``python runner.py JOB.json LIFELINE``: the job says what to run and where to leave the trace.
Whatever the probe does (crash, hang, take all memory, print megabytes, end the process) stays in
this process; :mod:`porter.verify.run` watches it from outside. An exception is written to
``failure.json`` beside the trace; an end without either file speaks for itself.

Nothing here may need more than torch, safetensors and the standard library, and nothing of the
interpreter that runs porter is visible but the package porter itself.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # The script's own folder would let `import trace` find ours instead of the standard library's.
    del sys.path[0]

import faulthandler
import importlib.util
import json
import os
import resource
import signal
import threading
import time
import traceback
import types
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from porter.device import Device
    from porter.verify.facts import RunFacts
    from porter.verify.launch import Launches
    from porter.verify.probe import Probe

MODULES = (
    *("activations", "alive", "counting", "events", "facts", "launch", "launched", "lines_met"),
    *("module_paths", "network", "probe", "recording", "runner", "script", "seen", "trace"),
)
"""porter's modules around a probe: what they are is part of every trace's key."""

FAILURE = "failure.json"
NATIVE = "native"
"""The dtype of a recipe whose probe or script chooses for itself."""


def end_with_parent(lifeline: int) -> None:
    """Kill this process's whole group when the other end of ``lifeline`` closes.

    porter holds that end: however porter ends, kill -9 included, no probe goes on computing.
    """

    def watch() -> None:
        os.read(lifeline, 1)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def limit_memory(most: int) -> None:
    """Make allocations beyond ``most`` bytes fail, where the system can (Linux: RLIMIT_DATA).

    RLIMIT_AS would count address space too, of which device drivers reserve terabytes.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def import_porter() -> None:
    """Make ``import porter.…`` work without opening the folder that porter was imported from."""
    folder = Path(__file__).resolve().parent.parent
    spec = importlib.util.spec_from_file_location(
        "porter", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {folder}")
    package = importlib.util.module_from_spec(spec)
    sys.modules["porter"] = package
    spec.loader.exec_module(package)


def is_memory_error(error: BaseException) -> bool:
    """Whether the exception is one of the many ways of saying "out of memory"."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    signs = ("can't allocate memory", "cannot allocate memory", "not enough memory", "bad_alloc")
    return isinstance(error, (RuntimeError, OSError)) and (
        any(sign in text for sign in signs) or "out of memory" in text
    )


def kind_of(error: BaseException) -> str:
    """Return what kind of failure an exception is: memory, exit, device or exception."""
    cause: BaseException | None = error
    while cause is not None:
        if is_memory_error(cause):
            return "memory"
        cause = cause.__cause__
    if isinstance(error, SystemExit):
        return "exit"
    if type(error).__module__ == "porter.errors":  # of the device: nothing else here raises them
        return "device"
    return "exception"


def write_failure(out: Path, kind: str, error: BaseException) -> None:
    """Say in ``failure.json`` what ended the run: kind and one line."""
    told = traceback.format_exception_only(type(error), error)[-1].strip().splitlines()
    beside = out / f"{FAILURE}.new"
    beside.write_text(json.dumps({"kind": kind, "message": " ".join(told)[:500]}))
    beside.replace(out / FAILURE)


def load_probe(path: Path) -> types.ModuleType:
    """Import the probe file; its neighbours can be imported by it, after everything else."""
    sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(f"porter_probe_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def versions() -> dict[str, str]:
    """What the trace says of its environment: interpreter, platform, every distribution."""
    import importlib.metadata as metadata
    import platform

    found = {"python": platform.python_version(), "platform": platform.platform()}
    for distribution in metadata.distributions():
        # The first one on sys.path is the one that an import finds. A damaged one has no name.
        if name := distribution.metadata["Name"]:
            found.setdefault(name, distribution.version)
    return found


def open_probe_device(name: str, tree: Path) -> Any:
    """Return the run's device, ready: its plugin imported, or its simulation started.

    CUDA calls that a migration serves are logged from here on. Raises BadInput.
    """
    from porter.device import open_device
    from porter.verify.events import MIGRATING, keep_migration_log

    device = open_device(name)
    if device.is_simulated and device.kind in MIGRATING:
        keep_migration_log(device.kind, tree)
    device.prepare()
    return device


def site_roots(job: dict[str, Any]) -> dict[Path, str]:
    """Return how files are shown: those of the tree by their path, others with a word before."""
    from porter.verify.events import PROBE

    roots = {Path(job["tree"]): ""}
    roots |= {Path(folder): f"companion {name}" for name, folder in job["companions"].items()}
    return roots | {Path(job["probe"]).parent: PROBE}


def run(job: dict[str, Any], out: Path) -> None:
    """Run the job's probe and write its trace."""
    import torch

    from porter.verify import network
    from porter.verify.facts import RunFacts
    from porter.verify.launch import Launches
    from porter.verify.lines_met import LINES, LinesMet
    from porter.verify.probe import Probe

    facts = RunFacts(**job["facts"])
    is_native = facts.dtype == NATIVE
    dtype = torch.float32 if is_native else getattr(torch, facts.dtype)
    torch.set_num_threads(facts.threads)
    network.forbid()
    sys.path[:0] = job["source_roots"]
    if dtype == torch.float64:
        torch.set_default_dtype(torch.float64)
    roots = site_roots(job)
    launches = Launches(out.parent / "launch", facts.device, roots)
    launches.install(job["source_roots"])
    device = open_probe_device(facts.device, Path(job["tree"]))
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
    )
    met = LinesMet(Path(job["tree"]), job["lines"])
    if job["lines"]:
        met.start()
    began = time.monotonic()
    if job["activations"]:
        run_recorded(job, probe, roots, out)
    else:
        run_probe(job, probe)
    seconds = time.monotonic() - began
    if job["lines"]:
        (out / LINES).write_text(json.dumps(met.met()), encoding="utf-8")
    probe.finish()
    write_trace(out, facts, probe, device, seconds, launches, roots)


def run_probe(job: dict[str, Any], probe: Probe) -> None:
    """Import the probe file and call its ``run``."""
    from porter.verify.probe import ProbeError

    module = load_probe(Path(job["probe"]))
    if not callable(getattr(module, "run", None)):
        raise ProbeError(f"{job['probe']}: expected a function run(probe), found none")
    probe.seed_everything()
    module.run(probe)
    if not probe.outputs and not probe.counters:
        raise ProbeError("recorded nothing; call probe.record(name, tensor)")


def run_recorded(job: dict[str, Any], probe: Probe, roots: Mapping[Path, str], out: Path) -> None:
    """Run the probe with its activations recorded, as far as they are asked for."""
    from porter.verify.activations import Enough, Recorder

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
) -> None:
    """Write everything that the run leaves; ``trace.json`` last."""
    from porter.verify import events, trace

    counters, launched_events, launched_migration = launches.collect()
    events.write_events(out, [*probe.events, *events.of_device(device, roots), *launched_events])
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
            warnings=tuple(probe.warnings),
        ),
    )


def main(argv: list[str]) -> int:
    """Run the job named on the command line; 0 when its trace is written."""
    job = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    out = Path(job["out"])
    end_with_parent(int(argv[2]))
    limit_memory(job["memory_bytes"])
    # Shows in the end of stderr where a probe hung, just before porter kills it.
    faulthandler.dump_traceback_later(max(0.1, job["seconds"] * 0.98 - 0.5))
    try:
        import torch  # noqa: F401

        import_porter()
    except Exception as error:
        traceback.print_exc()
        write_failure(out, "environment", error)
        return 1
    try:
        run(job, out)
    except BaseException as error:
        traceback.print_exc()
        kind = kind_of(error)
        write_failure(out, kind, error)
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv)
    sys.stdout.flush()
    sys.stderr.flush()
    # Worker threads and exit hooks of old libraries may hang or crash; the outcome is on disk.
    os._exit(code)
