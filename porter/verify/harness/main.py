"""Run one probe: the program that the probe's own interpreter executes.

``python main.py JOB.json LIFELINE``: the job says what to run and where to write the trace.
Whatever the probe does (crash, hang, exhaust memory, print megabytes, exit) affects this process
alone; :mod:`porter.verify.execution.run_probe` watches it from outside. An exception is written to
``failure.json`` beside the trace; a run that leaves neither file has crashed.

This code may import only torch, safetensors and the standard library. Of the interpreter that runs
porter, only the package porter itself is visible.
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
from pathlib import Path

FAILURE = "failure.json"


def end_with_parent(lifeline: int) -> None:
    """Kill this process's whole group when the other end of ``lifeline`` closes.

    porter holds that end: when porter ends in any way, kill -9 included, no probe survives it.
    """

    def watch() -> None:
        os.read(lifeline, 1)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def limit_memory(most: int) -> None:
    """Make allocations beyond ``most`` bytes fail (on Linux: RLIMIT_DATA).

    RLIMIT_AS would also count address space, of which device drivers reserve terabytes.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def import_porter() -> None:
    """Make ``import porter.…`` work without putting the folder that holds porter on sys.path."""
    folder = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location(
        "porter", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {folder}")
    package = importlib.util.module_from_spec(spec)
    sys.modules["porter"] = package
    spec.loader.exec_module(package)


def is_memory_error(error: BaseException) -> bool:
    """Whether the exception means "out of memory" in any of its many forms."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    # The first ends "can't" and "cannot" alike.
    signs = ("t allocate memory", "not enough memory", "bad_alloc", "out of memory")
    return isinstance(error, (RuntimeError, OSError)) and any(sign in text for sign in signs)


def kind_of(error: BaseException) -> str:
    """Return the kind of failure of an exception: memory, exit, device or exception."""
    cause: BaseException | None = error
    while cause is not None:
        if is_memory_error(cause):
            return "memory"
        cause = cause.__cause__
    if isinstance(error, SystemExit):
        return "exit"
    if type(error).__module__ == "porter.errors":  # only opening the device raises them here
        return "device"
    return "exception"


def write_failure(out: Path, kind: str, error: BaseException) -> None:
    """Write to ``failure.json`` what ended the run: its kind and a message of one line."""
    lines = traceback.format_exception_only(type(error), error)[-1].strip().splitlines()
    beside = out / f"{FAILURE}.new"
    beside.write_text(json.dumps({"kind": kind, "message": " ".join(lines)[:500]}))
    beside.replace(out / FAILURE)


def main(argv: list[str]) -> int:
    """Run the job named on the command line; return 0 if its trace is written."""
    began = time.monotonic()
    job = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    out = Path(job["out"])
    import_porter()
    from porter.verify.harness.stages import Stages

    stages = Stages(began)
    if job["sandbox_spec"]:  # while this process has one thread
        from porter.verify.harness.sandbox import NoSandbox, enter

        try:
            enter(job["sandbox_spec"])
        except NoSandbox as error:
            write_failure(out, "sandbox", error)
            return 1
    end_with_parent(int(argv[2]))
    limit_memory(job["memory_bytes"])
    # Just before porter kills a hung probe: the end of stderr then shows where it hung.
    faulthandler.dump_traceback_later(max(0.1, job["seconds"] * 0.98 - 0.5))
    try:
        import torch  # noqa: F401

        from porter.verify.harness.run import run
    except Exception as error:
        traceback.print_exc()
        write_failure(out, "environment", error)
        return 1
    try:
        run(job, out, stages)
    except BaseException as error:
        traceback.print_exc()
        write_failure(out, kind_of(error), error)
        return 1
    finally:
        if job["stages"]:
            stages.write(out.parent)
    return 0


if __name__ == "__main__":
    code = main(sys.argv)
    sys.stdout.flush()
    sys.stderr.flush()
    # Worker threads and exit hooks of old libraries may hang or crash; the result is on disk.
    os._exit(code)
