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
import random
import resource
import signal
import threading
import time
import traceback
import types
from pathlib import Path
from typing import Any

FAILURE = "failure.json"


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


def run(job: dict[str, Any], out: Path) -> None:
    """Run the job's probe and write its trace."""
    import torch

    from porter.verify import trace
    from porter.verify.facts import RunFacts
    from porter.verify.probe import Probe, ProbeError

    facts = RunFacts(**job["facts"])
    dtype = getattr(torch, facts.dtype)
    torch.set_num_threads(facts.threads)
    sys.path[:0] = job["source_roots"]
    if dtype == torch.float64:
        torch.set_default_dtype(torch.float64)
    probe = Probe(
        dtype=dtype,
        device=torch.device(facts.device),
        seed=facts.seed,
        parameters=job["parameters"],
        tree=Path(job["tree"]),
        companions={name: Path(folder) for name, folder in job["companions"].items()},
        folder=Path(job["probe"]).parent,
        scratch=Path.cwd(),
    )
    began = time.monotonic()
    module = load_probe(Path(job["probe"]))
    if not callable(getattr(module, "run", None)):
        raise ProbeError(f"{job['probe']}: expected a function run(probe), found none")
    torch.manual_seed(facts.seed)
    random.seed(facts.seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(facts.seed % 2**32)
    module.run(probe)
    if not probe.outputs and not probe.counters:
        raise ProbeError("recorded nothing; call probe.record(name, tensor)")
    # Linux counts kibibytes, macOS bytes.
    unit = 1024 if sys.platform == "linux" else 1
    trace.write(
        out,
        trace.Trace(
            facts=facts,
            versions=versions(),
            counters=probe.counters,
            seconds=time.monotonic() - began,
            peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
            outputs=probe.outputs,
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
        kind = "memory" if is_memory_error(error) else "exception"
        if isinstance(error, SystemExit):
            kind = "exit"
        write_failure(out, kind, error)
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv)
    sys.stdout.flush()
    sys.stderr.flush()
    # Worker threads and exit hooks of old libraries may hang or crash; the outcome is on disk.
    os._exit(code)
