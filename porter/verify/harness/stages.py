"""Record when a run passes from one stage to the next, for ``porter verify --timings``.

What the main thread does inside the probe is sampled, not intercepted: a wrapper around imports or
modules would stand in the tracebacks and warnings of upstream's code.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

FILE = "stages.json"
PROBE_STAGE = "running the probe"
"""The stage that is sampled."""
IMPORTING = "importing"
BUILDING = "building models"
LAUNCHED = "launched processes"
RECORDING = "recording outputs"
COMPUTING = "computing"

_SAMPLE_SECONDS = 0.02
_BUILDERS = {"__init__", "reset_parameters", "_reset_parameters"}


class Stages:
    """The stages of one run: a stage lasts until the next begins. Times are those of
    :func:`time.monotonic`, which all processes of a machine share."""

    def __init__(self, began: float) -> None:
        self._rows = [("importing torch", began)]
        self._samples: Counter[str] = Counter()
        self._over = threading.Event()

    def enter(self, stage: str) -> None:
        """Begin a stage."""
        self._rows.append((stage, time.monotonic()))

    def sample(self) -> None:
        """Sample this thread, in another, until :meth:`write`."""
        watched = threading.get_ident()

        def watch() -> None:
            while not self._over.wait(_SAMPLE_SECONDS):
                self._samples[activity(sys._current_frames().get(watched))] += 1

        threading.Thread(target=watch, name="stages", daemon=True).start()

    def write(self, folder: Path) -> None:
        """Write the stages and the samples of the stage that was sampled."""
        self._over.set()
        self.enter("")
        text = json.dumps({"stages": self._rows, "samples": self._samples})
        (folder / FILE).write_text(text, encoding="utf-8")


def activity(frame: FrameType | None) -> str:
    """Return in a word what a stack does; its outermost telling frame decides."""
    found = COMPUTING
    while frame is not None:
        found = _of_frame(frame.f_code.co_filename, frame.f_code.co_name) or found
        frame = frame.f_back
    return found


def _of_frame(file: str, function: str) -> str:
    if file.startswith("<frozen importlib"):
        return IMPORTING
    if "/torch/nn/" in file and (function in _BUILDERS or file.endswith("/init.py")):
        return BUILDING
    if "/porter/verify/harness/" in file:
        if function == "launch" and file.endswith("/subprocesses.py"):
            return LAUNCHED
        if function == "record" and file.endswith("/api.py"):
            return RECORDING
    return ""
