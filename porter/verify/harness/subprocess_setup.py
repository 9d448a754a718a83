"""Set up a Python process that a run started; apart from ``subprocesses`` to import no torch.

Processes that need no torch (``multiprocessing``'s resource tracker) stay small.
:mod:`porter.verify.harness.subprocesses` arranges that :func:`begin` is called.
"""

from __future__ import annotations

import atexit
import importlib.abc
import importlib.machinery
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from porter.device import Device
from porter.process import is_alive
from porter.verify.harness import network
from porter.verify.harness.counters import counts_of
from porter.verify.harness.events import migration_lines, of_device, open_logged_device
from porter.verify.harness.opened import record_opened


def begin(setup: dict[str, Any]) -> None:
    """Set this process up as ``setup`` says: ``runner`` (the run's process id), ``device``, ``out``
    (the folder for counters), ``roots`` (folder -> shown name), ``recorded`` (file -> folders)."""
    for record, roots in setup["recorded"].items():
        record_opened(record, roots)
    end_with(int(setup["runner"]))
    network.forbid()
    if setup["device"].startswith("sim:"):
        sys.meta_path.insert(0, _OnTorch(setup))


def end_with(process: int) -> None:
    """Kill this process when ``process`` ends."""

    def watch() -> None:
        if hasattr(os, "pidfd_open"):
            with suppress(OSError):  # it has ended already
                select.select([os.pidfd_open(process)], [], [])
        else:
            while is_alive(process):
                time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


class _OnTorch(importlib.abc.MetaPathFinder):
    """Prepares the device as soon as torch has been imported."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.setup = setup

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find torch as usual, with a loader that prepares the device afterwards."""
        if name != "torch":
            return None
        # Stay in sys.meta_path: libraries look for torch before they import it.
        for finder in [other for other in sys.meta_path if other is not self]:
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Preparing(spec.loader, self)
                return spec
        return None


class _Preparing(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, finder: _OnTorch) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        self._loader.exec_module(module)
        _prepare(self._finder.setup)


def _prepare(setup: dict[str, Any]) -> None:
    roots = {Path(folder): shown for folder, shown in setup["roots"].items()}
    device = open_logged_device(setup["device"], next(iter(roots)))
    process = os.getpid()

    def write_counters() -> None:
        if os.getpid() == process:  # not in a forked worker, whose counters include its parent's
            _write(Path(setup["out"]), device, roots)

    atexit.register(write_counters)


def _write(out: Path, device: Device, roots: Mapping[Path, str]) -> None:
    content = {
        "counters": counts_of(device),
        "events": of_device(device, roots),
        "migration": migration_lines(roots),
        "rank": os.environ.get("RANK", ""),
    }
    beside = out / f".{os.getpid()}"
    beside.write_text(json.dumps(content), encoding="utf-8")
    beside.replace(out / f"{os.getpid()}-{time.monotonic_ns()}.json")
