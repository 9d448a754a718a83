"""The processes of runs: start them, wait for them, end them with everything they started.

A run spends most of its time on ``import torch``. A fork server
(:mod:`porter.verify.execution.forkserver_main`) pays that once for all runs with equal interpreter
and variables; where a fork is not sound, a fresh interpreter starts. ``PORTER_COLD=1`` turns fork
servers off. Every run has a session and a process group of its own, so one kill ends it all.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from porter.device.sim.contract.releases import SIMULATED
from porter.process import kill_group
from porter.verify.environment.variables import own_variables
from porter.verify.execution import forkserver_main
from porter.verify.harness import main as harness

MOST_IDLE = 3
FORKED_DEVICES = ("cpu", *SIMULATED)
"""Devices whose runs may be forked: plugins of real accelerators start threads and open devices."""

_HELLO_SECONDS = forkserver_main.IMPORT_SECONDS + 10.0
_PID_SECONDS = 30.0
_GONE = -9

T = TypeVar("T")


class ForkServerError(Exception):
    """A fork server ended or refuses to fork; the text says why."""


def warm_possible() -> bool:
    """Whether this system can fork runs and the user allows it."""
    return sys.platform == "linux" and not os.environ.get("PORTER_COLD")


@dataclass(frozen=True)
class Start:
    """What a run's process needs to start: interpreter, job file and run folder.

    ``shared`` are the variables it has in common with other runs, ``own`` those that name its own
    folders. ``lifeline``, ``out`` and ``err`` are open files of the process: it ends when the other
    end of the first closes, and prints to the others. ``before`` is the command that starts the
    interpreter in a sandbox, where it does not enter one by itself; such a run is not forked.
    """

    python: Path
    job: Path
    folder: Path
    shared: Mapping[str, str]
    own: Mapping[str, str]
    lifeline: int
    out: int
    err: int
    before: tuple[str, ...] = ()

    @property
    def work_folder(self) -> Path:
        """The empty folder that the process starts in."""
        return self.folder / "scratch"


class Process(Protocol):
    """A run's process."""

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group."""

    def wait(self, seconds: float) -> int | None:
        """Return the exit code (negative: the signal's number), or None if it still runs then."""

    def end(self) -> int:
        """Kill what is left of its group; return the exit code."""


class ColdProcess:
    """A run in a fresh interpreter."""

    def __init__(self, start: Start) -> None:
        command = [str(start.python), harness.__file__, str(start.job), str(start.lifeline)]
        self._is_wrapped = bool(start.before)
        self._process = subprocess.Popen(
            [*start.before, *command],
            cwd=start.work_folder,
            env={**start.shared, **start.own},
            stdin=subprocess.DEVNULL,
            stdout=start.out,
            stderr=start.err,
            start_new_session=True,
            pass_fds=(start.lifeline,),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, seconds: float) -> int | None:
        try:
            return self._code(self._process.wait(timeout=seconds))
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> int:
        kill_group(self._process.pid)
        return self._code(self._process.wait())

    def _code(self, code: int) -> int:
        """Return the interpreter's code: a command before it reports a signal as a shell does."""
        return 128 - code if self._is_wrapped and code > 128 else code


class ForkedProcess:
    """A run forked from a fork server; ``ended`` is called once, after its end."""

    def __init__(self, channel: socket.socket, pid: int, ended: Callable[[], None]) -> None:
        self._channel = channel
        self._on_end = ended
        self.pid = pid
        self._code: int | None = None

    def wait(self, seconds: float) -> int | None:
        if self._code is None:
            ready, _, _ = select.select([self._channel], [], [], seconds)
            if ready:
                message = _receive(self._channel)
                if message is None:  # the fork server was killed: nobody waits for its children
                    kill_group(self.pid)
                self._code = _GONE if message is None else int(message["status"])
                self._channel.close()
                self._on_end()
        return self._code

    def end(self) -> int:
        """See :class:`Process`; the fork server kills and reaps."""
        if self._code is None:
            with suppress(OSError):
                self._channel.shutdown(socket.SHUT_WR)
        while self._code is None:
            self.wait(1.0)
        return self._code


class ForkServer:
    """A running fork server; ``folder`` is its working folder, laid out as a run's."""

    def __init__(
        self, python: Path, shared: Mapping[str, str], folder: Path, stop: threading.Event
    ) -> None:
        """Start it and wait until it has imported torch. Raises ForkServerError."""
        own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = own
        self._sending = threading.Lock()
        self.running = 0
        with its:
            self._process = subprocess.Popen(
                [str(python), forkserver_main.__file__, str(its.fileno())],
                cwd=folder / "scratch",
                env={**shared, **own_variables(folder)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(its.fileno(),),
            )
        message: dict[str, Any] | None = {"broken": "it took too long"}
        deadline = time.monotonic() + _HELLO_SECONDS
        while time.monotonic() < deadline and not stop.is_set():
            if select.select([own], [], [], 0.1)[0]:
                message = _receive(own)
                break
        if message is None or "torch" not in message:
            self.close()
            raise ForkServerError((message or {}).get("broken", "it ended before it was ready"))
        self.torch = str(message["torch"])
        if message["threads"] != 1:
            self.close()
            raise ForkServerError(f"importing torch started {message['threads'] - 1} threads")

    def fork(self, start: Start) -> ForkedProcess:
        """Start a run. Raises ForkServerError when it cannot fork."""
        own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {
            "runner": harness.__file__,
            "job": str(start.job),
            "folder": str(start.work_folder),
            "variables": dict(start.own),
        }
        try:
            with its, self._sending:
                files = [its.fileno(), start.lifeline, start.out, start.err]
                socket.send_fds(self._control, [json.dumps(request).encode()], files)
            own.settimeout(_PID_SECONDS)
            message = _receive(own)
            own.settimeout(None)
        except OSError as error:
            message = {"refused": str(error)}
        if message is None or "pid" not in message:
            own.close()
            raise ForkServerError((message or {}).get("refused", "it ended"))
        self._count(1)
        return ForkedProcess(own, int(message["pid"]), lambda: self._count(-1))

    def _count(self, change: int) -> None:
        with self._sending:
            self.running += change

    def close(self) -> None:
        """End it and every run forked from it, and wait for that."""
        self._control.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            kill_group(self._process.pid)
            self._process.wait()


@dataclass
class _Slot:
    """The slot of one fork server: the first run that needs it starts it, holding the lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    fork_server: ForkServer | None = None
    refused: str = ""
    used: float = 0.0


@dataclass
class ForkServerPool:
    """The fork servers of one verification; ``folder`` is their working folder.

    Thread-safe: parallel runs share a fork server. Setting ``stop`` ends the wait for one.
    """

    folder: Path
    enabled: bool = field(default_factory=warm_possible)
    stop: threading.Event = field(default_factory=threading.Event)
    _slots: dict[Any, _Slot] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, start: Start, device: str) -> Process:
        """Start a run's process: forked where that is sound, else a fresh interpreter.

        A fork server serves the runs of one interpreter with equal shared variables.
        """
        if device in FORKED_DEVICES and not start.before:
            with suppress(ForkServerError):
                return self._use(start.python, start.shared, lambda server: server.fork(start))
        return ColdProcess(start)

    def torch_in(self, python: Path, shared: Mapping[str, str]) -> str:
        """Return the version of torch in these runs' fork server. Raises ForkServerError."""
        return self._use(python, shared, lambda server: server.torch)

    def _use(self, python: Path, shared: Mapping[str, str], use: Callable[[ForkServer], T]) -> T:
        """Use the fork server of these runs; start it if it is the first time."""
        if not self.enabled:
            raise ForkServerError("fork servers are off")
        with self._lock:
            slot = self._slots.setdefault((python, tuple(sorted(shared.items()))), _Slot())
            slot.used = time.monotonic()
        with slot.lock:
            if slot.refused:
                raise ForkServerError(slot.refused)
            try:
                if slot.fork_server is None:
                    self._end_idle()
                    slot.fork_server = ForkServer(python, shared, self.folder, self.stop)
                return use(slot.fork_server)
            except ForkServerError as why:
                slot.refused = str(why)
                raise

    def _end_idle(self) -> None:
        """End the least recently used fork servers that have no run under way."""
        with self._lock:
            idle = [p for p in self._slots.values() if p.fork_server and not p.fork_server.running]
            idle.sort(key=lambda slot: slot.used)
        for slot in idle[: max(0, len(idle) - MOST_IDLE + 1)]:
            if slot.lock.acquire(blocking=False):
                try:
                    if slot.fork_server is not None and not slot.fork_server.running:
                        slot.fork_server.close()
                        slot.fork_server = None
                finally:
                    slot.lock.release()

    def refusals(self) -> list[str]:
        """Return why runs were not forked."""
        return [slot.refused for slot in self._slots.values() if slot.refused]

    def close(self) -> None:
        """End all fork servers and every run forked from them."""
        self.stop.set()
        for slot in self._slots.values():
            with slot.lock:
                if slot.fork_server is not None:
                    slot.fork_server.close()
        self._slots.clear()


def _receive(channel: socket.socket) -> dict[str, Any] | None:
    """Return the next message of a SOCK_SEQPACKET, or None when there will be none.

    A run's process id and its exit status may both be waiting: the socket keeps them apart.
    """
    try:
        data = channel.recv(65536)
    except ConnectionResetError:
        return None
    message: dict[str, Any] | None = json.loads(data) if data else None
    return message
