"""Run one probe in a process of its own, within its limits; say in words why it failed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from porter.process import Stopped, Tail, group_memory, plain
from porter.scratch import make_owned
from porter.verify.cache.reads import TreeHashes, reads_of, write_reads
from porter.verify.environment.variables import own_variables, shared_variables
from porter.verify.execution.forkserver import ForkServerPool, Process, Start
from porter.verify.execution.open_watch import OpenWatch, watch_opened
from porter.verify.execution.sandbox import NO_SANDBOX, Sandbox
from porter.verify.harness import main as harness
from porter.verify.harness.opened import OPENED
from porter.verify.harness.run_info import HEAD, PRINTED
from porter.verify.harness.sums import write_sums
from porter.verify.harness.traceback_frames import frames_in_tree
from porter.verify.plan.matrix import Failure, Job

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Launcher:
    """Starts runs, forked from ``warm`` where that is sound, until ``stop`` is set. Thread-safe.

    With ``stages``, runs say how long their stages took (:mod:`porter.verify.harness.stages`).
    """

    warm: ForkServerPool
    stop: threading.Event
    sandbox: Sandbox = NO_SANDBOX
    stages: bool = False
    hashes: TreeHashes = field(default_factory=TreeHashes)


@contextmanager
def launcher(runs: Path, warm: bool | None = None) -> Iterator[Launcher]:
    """Yield a launcher; all its processes end with the block.

    ``warm``: None leaves the choice to the system and the user's variables.
    """
    with run_folder(runs) as folder:
        _make_folders(folder)
        fork_servers = ForkServerPool(folder) if warm is None else ForkServerPool(folder, warm)
        try:
            yield Launcher(fork_servers, fork_servers.stop)
        finally:
            fork_servers.close()


@contextmanager
def run_folder(runs: Path) -> Iterator[Path]:
    """Make a folder for one run under ``runs``; remove it afterwards.

    Folders that killed porter processes of this host left behind are removed too: a folder's name
    holds process id and host, since hosts may share a cache.
    """
    folder = make_owned(runs)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_probe(job: Job, python: Path, folder: Path, start: Launcher) -> Path | Failure:
    """Run ``job`` with the interpreter ``python`` inside ``folder``; return the trace's folder.

    An interruption (KeyboardInterrupt, ``start.stop``) ends the probe's whole process group first.
    Raises Stopped when ``start.stop`` was set.
    """
    out = folder / "out"
    out.mkdir()
    _make_folders(folder)
    # The paths among the job's values become text.
    held = {"sandbox": start.sandbox.kind, "sandbox_spec": start.sandbox.spec(job, python, folder)}
    asked = {**asdict(job), "out": out, "stages": start.stages, **held}
    description = json.dumps(asked, default=os.fspath)
    (folder / "job.json").write_text(description, encoding="utf-8")
    watching = watch_opened([*job.roots.values()] if job.base else [])
    with watching as watch, _pipes() as (lifeline, printed, complained, files):
        process = start.warm.start(
            Start(
                python=python,
                job=folder / "job.json",
                folder=folder,
                shared=shared_variables(job.facts.threads, job.facts.environ),
                own=own_variables(folder),
                lifeline=lifeline,
                out=files[0],
                err=files[1],
                before=tuple(start.sandbox.command(job, python, folder)),
            ),
            job.facts.device,
        )
        for file in files:
            os.close(file)
        files.clear()
        try:
            killed = _watch(process, job, start.stop, watch)
        finally:
            code = process.end()
        end = complained.text()
        printed_ends = {"stdout": printed.as_json(), "stderr": complained.as_json()}
        opened = watch.opened(folder / OPENED)
    if failure := _failure(code, killed, out, job, end):
        return replace(failure, frames=plain(frames_in_tree(end, job.tree)))
    (out / PRINTED).write_text(json.dumps(printed_ends), encoding="utf-8")
    if opened is not None:
        write_reads(out, reads_of(job.base, job.roots, opened, start.hashes))
    write_sums(out)
    return out


def _make_folders(folder: Path) -> None:
    for name in ("scratch", "home", "tmp"):
        (folder / name).mkdir()


@contextmanager
def _pipes() -> Iterator[tuple[int, Tail, Tail, list[int]]]:
    """Yield the read end of a lifeline, readers of stdout and stderr, and their write ends.

    Only this process holds the lifeline's write end, as long as the block runs.
    """
    lifeline, held = os.pipe()
    printed, out = os.pipe()
    complained, err = os.pipe()
    files = [out, err]
    try:
        yield lifeline, Tail(os.fdopen(printed, "rb")), Tail(os.fdopen(complained, "rb")), files
    finally:
        for file in (lifeline, held, *files):
            os.close(file)


def _watch(process: Process, job: Job, stop: threading.Event, opened: OpenWatch) -> str | None:
    """Wait for the end; return "time" or "memory" when a limit was passed first."""
    deadline = time.monotonic() + job.seconds
    while process.wait(_POLL_SECONDS) is None:
        opened.read()
        if stop.is_set():
            raise Stopped
        if time.monotonic() >= deadline:
            return "time"
        if group_memory(process.pid) > job.memory_bytes:
            return "memory"
    return None


def _failure(code: int, killed: str | None, out: Path, job: Job, stderr: str) -> Failure | None:
    gib = job.memory_bytes / 2**30
    over_memory = f"needs more than its limit of {gib:g} GiB (limits.memory_gib)"
    if killed == "time":
        limit = f"ran past its limit of {job.seconds:g} s (limits.seconds); killed"
        return Failure("time", limit, stderr)
    if killed == "memory":
        return Failure("memory", f"{over_memory}; killed", stderr)
    if (out / harness.FAILURE).is_file():
        failure = json.loads((out / harness.FAILURE).read_text())
        if failure["kind"] == "memory":
            return Failure("memory", over_memory, stderr)
        words = plain(failure["message"])
        if failure["kind"] == "exit":
            words = f"ended the process itself ({words}), without a trace"
        return Failure(failure["kind"], words, stderr)
    if code == 0 and (out / HEAD).is_file():
        return None
    if code < 0:
        if "bad_alloc" in stderr:
            return Failure("memory", over_memory, stderr)
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
