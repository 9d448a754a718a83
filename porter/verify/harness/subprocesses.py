"""Simulate the device in the Python processes that a run starts, and collect their counters.

A run's ``PYTHONPATH`` names a folder with a ``sitecustomize.py``, which Python imports at start-up.
In an interpreter of the run's own environment it calls
:func:`porter.verify.harness.subprocess_setup.begin`, which

- ends the process when the run's own process ends (``torchrun`` starts workers in sessions of their
  own, which a signal to the run's process group does not reach),
- forbids it the network,
- records which files of the run's trees it opens,
- prepares the simulated device when torch is imported, and writes the counters to a file.

This holds however a process is started: by :meth:`porter.verify.harness.api.Probe.launch`, a
script's own ``subprocess`` or ``torch.multiprocessing.spawn``. Forked workers inherit the set-up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import porter
from porter.verify.harness.counters import NOT_SUMS, used_nothing
from porter.verify.harness.opened import LAUNCH, SITE
from porter.verify.harness.script import KEPT_CHARACTERS, ScriptRun

_COUNTED = "counted"
_SITE = f'''\
"""Brings a probe's device into this process; written by porter for one run."""
import importlib.util, json, os, sys

with open(os.path.join(os.environ["{LAUNCH}"], "setup.json")) as _file:
    _setup = json.load(_file)
if os.path.realpath(sys.prefix) == _setup["prefix"]:
    try:
        _spec = importlib.util.spec_from_file_location(
            "porter",
            os.path.join(_setup["porter"], "__init__.py"),
            submodule_search_locations=[_setup["porter"]],
        )
        sys.modules["porter"] = importlib.util.module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules["porter"])
        from porter.verify.harness.subprocess_setup import begin

        begin(_setup)
    except BaseException as _error:
        print(f"porter: a launched process could not be set up: {{_error!r}}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(70)
_here = os.path.realpath(os.path.dirname(__file__))
for _folder in sys.path:
    _next = os.path.join(_folder, "sitecustomize.py")
    if _folder and os.path.realpath(_folder) != _here and os.path.isfile(_next):
        with open(_next, "rb") as _file:
            exec(compile(_file.read(), _next, "exec"))
        break
'''


class Launches:
    """The set-up of every process that this run starts, and their counters.

    ``roots`` is folder -> shown name (:func:`porter.verify.harness.events.shown_site`);
    ``recorded`` is file -> folders: what :mod:`porter.verify.harness.opened` records there.
    """

    def __init__(
        self,
        folder: Path,
        device: str,
        source_roots: Sequence[str],
        roots: Mapping[Path, str],
        recorded: Mapping[str, Sequence[str]],
    ) -> None:
        """Set this process's variables so that the processes it starts are set up."""
        self._out = folder / _COUNTED
        self._out.mkdir(parents=True)
        setup = {
            "runner": os.getpid(),
            "device": device,
            "out": str(self._out),
            "porter": str(Path(porter.__file__).resolve().parent),
            "prefix": os.path.realpath(sys.prefix),
            "roots": {str(root): shown for root, shown in roots.items()},
            "recorded": {**recorded},
        }
        (folder / "setup.json").write_text(json.dumps(setup), encoding="utf-8")
        site = folder / SITE
        site.mkdir()
        (site / "sitecustomize.py").write_text(_SITE, encoding="utf-8")
        os.environ[LAUNCH] = str(folder)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(site), *source_roots])
        programs = str(Path(sys.executable).parent)
        os.environ["PATH"] = os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])

    def collect(self) -> tuple[dict[str, int], list[dict[str, Any]], list[str]]:
        """Return the launched processes' summed counters (``launched/NAME``), their events, each
        with its ``process`` (1, 2, ...; ordered by rank if there is one), and migration lines."""
        files = [json.loads(path.read_text()) for path in sorted(_counted(self._out))]
        files.sort(key=lambda each: (not each["rank"], each["rank"]))
        sums: Counter[str] = Counter()
        events, migration = [], []
        for number, each in enumerate(files, 1):
            sums.update({k: v for k, v in each["counters"].items() if k not in NOT_SUMS})
            of_process = {"process": number}
            if each["rank"]:
                of_process["rank"] = int(each["rank"])
            events += [event | of_process for event in each["events"]]
            migration += each["migration"]
        counters = {f"launched/{name}": number for name, number in sums.items()}
        if files:
            counters["launched/processes"] = len(files)
        return counters, events, migration


def launch(arguments: Sequence[str], folder: Path) -> tuple[ScriptRun, bool]:
    """Run ``python ARGUMENTS`` in ``folder``; record the beginning of its output, print all.

    Also return whether the processes that were counted meanwhile dispatched nothing to the
    simulated device; False if none was, as one that imports no torch.
    """
    before = _counted_so_far()
    folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        out = _Drain(process.stdout, sys.stdout)
        err = _Drain(process.stderr, sys.stderr)
        code = process.wait()
    ended = _counted_so_far() - before
    counted = [json.loads(path.read_text(encoding="utf-8"))["counters"] for path in ended]
    used_none = bool(counted) and all(used_nothing({}, counters) for counters in counted)
    return ScriptRun(code, out.text(), err.text(), folder), used_none


def _counted_so_far() -> set[Path]:
    """Return the files of the processes of this run that have ended."""
    folder = os.environ.get(LAUNCH)
    return _counted(Path(folder) / _COUNTED) if folder else set()


def _counted(folder: Path) -> set[Path]:
    return set(folder.glob("[0-9]*.json"))


class _Drain:
    """Reads a pipe in a thread, passes its text on, and keeps the beginning."""

    def __init__(self, pipe: IO[bytes], onto: Any) -> None:
        self._pipe = pipe
        self._onto = onto
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        while chunk := os.read(self._pipe.fileno(), 65536):
            self._kept += chunk[: max(0, KEPT_CHARACTERS - len(self._kept))]
            self._onto.write(chunk.decode("utf-8", "replace"))

    def text(self) -> str:
        """Wait until the pipe is closed; return the beginning of its text."""
        self._thread.join()
        return self._kept.decode("utf-8", "replace")
