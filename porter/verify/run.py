"""Running one probe from outside: its process group, its limits, the end of what it printed.

The probe runs in its own session, so that one kill ends it with everything it started. What it
prints is drained as it comes and only the end is kept.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from porter.verify import runner
from porter.verify.facts import HEAD, RunFacts

_KEPT_BYTES = 16 * 1024
_POLL_SECONDS = 0.1
_SEALED = ("PYTHON", "OMP_", "MKL_", "KMP_", "OPENBLAS_", "HF_", "TRANSFORMERS_", "DIFFUSERS_")


@dataclass(frozen=True)
class Job:
    """One run: what (``facts``), from which files, within which limits."""

    facts: RunFacts
    probe: Path
    parameters: Mapping[str, Any]
    tree: Path
    source_roots: tuple[Path, ...]
    companions: Mapping[str, Path]
    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Failure:
    """Why a run left no trace: in a few words, and the end of its stderr."""

    kind: str  # exception, exit, memory, time, signal, environment, trace
    reason: str
    stderr: str


class Tail:
    """Drains a pipe in a thread, keeps the end of what came, and counts it all."""

    def __init__(self, pipe: IO[bytes], kept: int = _KEPT_BYTES) -> None:
        self._pipe = pipe
        self._kept = kept
        self._end = bytearray()
        self.total = 0
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        with suppress(OSError, ValueError):
            while chunk := os.read(self._pipe.fileno(), 65536):
                self.total += len(chunk)
                self._end += chunk
                del self._end[: -self._kept]

    def text(self) -> str:
        """Return the end of the output; say how much was left out."""
        self._thread.join(timeout=2)
        shown = _plain(bytes(self._end).decode("utf-8", "replace").replace("\r", "\n"))
        left_out = self.total - len(self._end)
        return f"[{left_out} bytes before this left out]\n{shown}" if left_out else shown


def _plain(text: str) -> str:
    """Leave out control characters, which would let a probe paint over porter's own output."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


@contextmanager
def run_folder(runs: Path) -> Iterator[Path]:
    """Make a folder for one run under ``runs``; remove it afterwards, and those of dead porters.

    Its name says whose it is: process and host, since a cache may be shared between hosts.
    """
    runs.mkdir(parents=True, exist_ok=True)
    here = platform.node() or "localhost"
    for old in runs.iterdir():
        owner, _, rest = old.name.partition("@")
        if rest.rpartition("-")[0] == here and owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}@{here}-", dir=runs))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sealed_environment(scratch: Path, threads: int) -> dict[str, str]:
    """Return the variables a probe sees: the user's, without what would change its results."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_SEALED)}
    count = str(threads)
    home = scratch / "home"
    return kept | {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "HF_HOME": str(home / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "DIFFUSERS_OFFLINE": "1",
        "MPLCONFIGDIR": str(home / "matplotlib"),
        "WANDB_MODE": "disabled",
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "NUMEXPR_NUM_THREADS": count,
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # the level's tree in the cache stays what its id says
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def run_probe(job: Job, python: Path, folder: Path) -> Path | Failure:
    """Run ``job`` with the interpreter ``python`` inside ``folder``; return the trace's folder.

    A KeyboardInterrupt kills the probe's process group before it goes on its way.
    """
    out, scratch = folder / "out", folder / "scratch"
    for part in (out, scratch / "home", folder / "tmp"):
        part.mkdir(parents=True)
    description = {
        "facts": asdict(job.facts),
        "probe": str(job.probe),
        "parameters": dict(job.parameters),
        "tree": str(job.tree),
        "source_roots": [str(root) for root in job.source_roots],
        "companions": {name: str(tree) for name, tree in job.companions.items()},
        "seconds": job.seconds,
        "memory_bytes": job.memory_bytes,
        "out": str(out),
    }
    (folder / "job.json").write_text(json.dumps(description), encoding="utf-8")
    variables = sealed_environment(scratch, job.facts.threads) | {"TMPDIR": str(folder / "tmp")}
    variables |= job.facts.environ
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            [str(python), runner.__file__, str(folder / "job.json"), str(reading)],
            cwd=scratch,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=(reading,),
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            printed, complained = Tail(process.stdout), Tail(process.stderr)
            try:
                killed = _watch(process, job)
            finally:
                _kill_group(process)
            end = complained.text()
            printed.text()
    finally:
        os.close(writing)
        os.close(reading)
    if failure := _failure(process.returncode, killed, out, job, end):
        return failure
    return out


def _watch(process: subprocess.Popen[bytes], job: Job) -> str | None:
    """Wait for the end; return "time" or "memory" when a limit was passed first."""
    deadline = time.monotonic() + job.seconds
    while True:
        try:
            process.wait(timeout=_POLL_SECONDS)
            return None
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                return "time"
            if _group_memory(process.pid) > job.memory_bytes:
                return "memory"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _group_memory(group: int) -> int:
    """Return the resident bytes of a process group's members; 0 where the system does not say."""
    total = 0
    page = os.sysconf("SC_PAGE_SIZE")
    try:
        members = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return 0
    for member in members:
        with suppress(OSError, ValueError, IndexError):
            # The name, in brackets, may hold anything; the fields after it do not.
            fields = (member / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                total += int(fields[21]) * page
    return total


def _failure(code: int, killed: str | None, out: Path, job: Job, stderr: str) -> Failure | None:
    gib = job.memory_bytes / 2**30
    over_memory = f"needs more than its limit of {gib:g} GiB (limits.memory_gib); killed"
    if killed == "time":
        limit = f"ran past its limit of {job.seconds:g} s (limits.seconds); killed"
        return Failure("time", limit, stderr)
    if killed == "memory":
        return Failure("memory", over_memory, stderr)
    if (out / runner.FAILURE).is_file():
        told = json.loads((out / runner.FAILURE).read_text())
        if told["kind"] == "memory":
            return Failure("memory", over_memory.removesuffix("; killed"), stderr)
        words = _plain(told["message"])
        if told["kind"] == "exit":
            words = f"ended the process itself ({words}), without a trace"
        return Failure(told["kind"], words, stderr)
    if code == 0 and (out / HEAD).is_file():
        return None
    if code < 0:
        if "bad_alloc" in stderr:
            return Failure("memory", over_memory.removesuffix("; killed"), stderr)
        return Failure("signal", _signal_words(-code), stderr)
    return Failure("exit", f"ended the process itself, exit code {code}, without a trace", stderr)


def _signal_words(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "unknown"
    words = f"killed by signal {number} ({name})"
    if number == signal.SIGKILL and sys.platform == "linux":
        words += "; the system does that when its memory runs out"
    return words
