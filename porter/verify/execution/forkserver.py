"""Warm starts: nurseries that have imported torch, and runs forked from them.

A run's process spends most of its time on ``import torch``. A nursery
(:mod:`porter.verify.execution.forkserver_main`) pays it once for all runs of equal interpreter and
variables; what it cannot do soundly is done cold. ``PORTER_COLD=1`` turns all of it off.
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
from typing import Any

from porter.process import kill_group
from porter.verify.environment.variables import own_variables
from porter.verify.execution import forkserver_main as nursery
from porter.verify.execution.process import ColdProcess, Process, Start
from porter.verify.harness import main as harness

MOST_IDLE = 3
FORKED_DEVICES = ("cpu", "sim:cuda", "sim:hpu", "sim:npu")
"""Where a run may be forked: the plugins of real accelerators start threads and open devices."""

_HELLO_SECONDS = nursery.IMPORT_SECONDS + 10.0
_PID_SECONDS = 30.0
_GONE = -9


class ForkServerError(Exception):
    """The nursery ended, or will not fork; the text says why."""


def warm_possible() -> bool:
    """Whether this system and this user let runs start warm."""
    return sys.platform == "linux" and not os.environ.get("PORTER_COLD")


class WarmProcess:
    """A run forked from a nursery; ``ended`` is called once it has ended."""

    def __init__(self, teller: socket.socket, pid: int, ended: Callable[[], None]) -> None:
        self._teller = teller
        self._ended = ended
        self.pid = pid
        self._code: int | None = None

    def wait(self, seconds: float) -> int | None:
        """See :class:`porter.verify.execution.process.Process`."""
        if self._code is None:
            ready, _, _ = select.select([self._teller], [], [], seconds)
            if ready:
                told = _hear(self._teller)
                if told is None:  # the nursery was killed, and told nothing of its children
                    kill_group(self.pid)
                self._code = _GONE if told is None else int(told["status"])
                self._teller.close()
                self._ended()
        return self._code

    def end(self) -> int:
        """See :class:`porter.verify.execution.process.Process`. The nursery kills, reaps and
        tells."""
        if self._code is None:
            with suppress(OSError):
                self._teller.shutdown(socket.SHUT_WR)
        while self._code is None:
            self.wait(1.0)
        return self._code


class ForkServer:
    """A running nursery that stands in ``folder`` (of a run's form)."""

    def __init__(
        self, python: Path, shared: Mapping[str, str], folder: Path, stop: threading.Event
    ) -> None:
        """Start it and wait until it has imported torch. Raises NurseryGone, saying why not."""
        own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = own
        self._sending = threading.Lock()
        self.running = 0
        with its:
            self._process = subprocess.Popen(
                [str(python), nursery.__file__, str(its.fileno())],
                cwd=folder / "scratch",
                env={**shared, **own_variables(folder)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(its.fileno(),),
            )
        told: dict[str, Any] | None = {"broken": "it took too long"}
        deadline = time.monotonic() + _HELLO_SECONDS
        while time.monotonic() < deadline and not stop.is_set():
            if select.select([own], [], [], 0.1)[0]:
                told = _hear(own)
                break
        if told is None or "torch" not in told:
            self.close()
            raise ForkServerError((told or {}).get("broken", "it ended before it was ready"))
        self.torch = str(told["torch"])
        if told["threads"] != 1:
            self.close()
            raise ForkServerError(f"importing torch started {told['threads'] - 1} threads")

    def fork(self, start: Start) -> WarmProcess:
        """Start a run. Raises NurseryGone when it cannot fork (any more)."""
        own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
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
            told = _hear(own)
            own.settimeout(None)
        except OSError as error:
            told = {"refused": str(error)}
        if told is None or "pid" not in told:
            own.close()
            raise ForkServerError((told or {}).get("refused", "it ended"))
        self._count(1)
        return WarmProcess(own, int(told["pid"]), lambda: self._count(-1))

    def _count(self, change: int) -> None:
        with self._sending:
            self.running += change

    def close(self) -> None:
        """End it with every run it made, and wait for that."""
        self._control.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            kill_group(self._process.pid)
            self._process.wait()


@dataclass
class _Place:
    """One nursery's place: made by whoever comes first, while the others wait at the lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    nursery: ForkServer | None = None
    refused: str = ""
    used: float = 0.0


@dataclass
class ForkServerPool:
    """The nurseries of one verification. ``folder`` is one of a run's form, for them to stand in.

    Thread-safe: runs in parallel share a nursery. Setting ``stop`` ends the wait for one.
    """

    folder: Path
    enabled: bool = field(default_factory=warm_possible)
    stop: threading.Event = field(default_factory=threading.Event)
    _places: dict[Any, _Place] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, start: Start, device: str) -> Process:
        """Start a run's process: warm where that is sound, else cold.

        A nursery serves the runs of one interpreter and equal shared variables.
        """
        if not self.enabled or device not in FORKED_DEVICES:
            return ColdProcess(start)
        place = self._place(start.python, start.shared)
        with place.lock:
            try:
                return self._nursery(place, start.python, start.shared).fork(start)
            except ForkServerError as why:
                place.refused = str(why)
        return ColdProcess(start)

    def torch_in(self, python: Path, shared: Mapping[str, str]) -> str:
        """Return the version of torch in the nursery of these runs. Raises NurseryGone."""
        if not self.enabled:
            raise ForkServerError("warm starts are off")
        place = self._place(python, shared)
        with place.lock:
            try:
                return self._nursery(place, python, shared).torch
            except ForkServerError as why:
                place.refused = str(why)
                raise

    def _place(self, python: Path, shared: Mapping[str, str]) -> _Place:
        with self._lock:
            place = self._places.setdefault((python, tuple(sorted(shared.items()))), _Place())
            place.used = time.monotonic()
        return place

    def _nursery(self, place: _Place, python: Path, shared: Mapping[str, str]) -> ForkServer:
        if place.refused:
            raise ForkServerError(place.refused)
        if place.nursery is None:
            self._make_room()
            place.nursery = ForkServer(python, shared, self.folder, self.stop)
        return place.nursery

    def _make_room(self) -> None:
        """End the nurseries that were not used for longest, if they have no run under way."""
        with self._lock:
            idle = [p for p in self._places.values() if p.nursery and not p.nursery.running]
            idle.sort(key=lambda place: place.used)
        for place in idle[: max(0, len(idle) - MOST_IDLE + 1)]:
            if place.lock.acquire(blocking=False):
                try:
                    if place.nursery is not None and not place.nursery.running:
                        place.nursery.close()
                        place.nursery = None
                finally:
                    place.lock.release()

    def refusals(self) -> list[str]:
        """Say why runs were made cold."""
        return [place.refused for place in self._places.values() if place.refused]

    def close(self) -> None:
        """End all nurseries with every run they made."""
        self.stop.set()
        for place in self._places.values():
            with place.lock:
                if place.nursery is not None:
                    place.nursery.close()
        self._places.clear()


def _hear(teller: socket.socket) -> dict[str, Any] | None:
    """Return the next message, or None when there will be none."""
    data = b""
    while not data.endswith(b"\n"):
        try:
            more = teller.recv(65536)
        except ConnectionResetError:
            return None
        if not more:
            return None
        data += more
    told: dict[str, Any] = json.loads(data)
    return told
