"""Run pip as a process: read its output line by line, kill its whole process group on stop."""

from __future__ import annotations

import codecs
import math
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from porter.process import Stopped

POLL_SECONDS = 0.2
"""How soon a command ends after ``stop`` is set."""


def run_pip(
    python: Path, folder: Path, arguments: Sequence[str], progress: Callable[[str], None],
    stop: threading.Event,
) -> tuple[int, list[str]]:  # fmt: skip
    """Run this interpreter's pip on the environment of ``python``.

    It works in ``folder`` and keeps its temporary files there until it ends. ``progress`` gets the
    lines worth showing. Return its exit code and the lines it printed. Raises Stopped.
    """
    verb, *rest = arguments
    command = [sys.executable, "-m", "pip", "--python", str(python)]
    command += ["--no-input", "--disable-pip-version-check", verb, *rest]
    if verb == "install":
        command += ["--no-warn-script-location", "--progress-bar", "off"]
    unwanted = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
    variables = {k: v for k, v in os.environ.items() if k not in unwanted}
    printed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pip-", dir=folder) as temporary:
        variables |= {"PYTHONNOUSERSITE": "1", "TMPDIR": temporary}
        output = Output(command, folder, variables)
        for line in output.lines(stop):
            printed.append(line.strip())
            if shown := _shown(line):
                progress(shown)
    return output.code, printed


class Output:
    """A command's stdout and stderr as one stream; ``code`` is its exit code, set at the end."""

    def __init__(self, command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
        self.code = -1
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def lines(self, stop: threading.Event, seconds: float = math.inf) -> Iterator[str]:
        """Yield its lines. If the caller stops early, its whole process group is killed.

        Raises Stopped soon after ``stop`` is set, and TimeoutError after ``seconds``.
        """
        deadline = time.monotonic() + seconds
        with self._process:
            try:
                yield from self._read(stop, deadline)
                self.code = self._process.wait()
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                raise

    def _read(self, stop: threading.Event, deadline: float) -> Iterator[str]:
        assert self._process.stdout is not None
        file = self._process.stdout.fileno()
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        rest = ""
        while True:
            if stop.is_set():
                raise Stopped
            if time.monotonic() > deadline:
                raise TimeoutError("it takes too long")
            if not select.select([file], [], [], POLL_SECONDS)[0]:
                continue
            data = os.read(file, 65536)
            *lines, rest = (rest + decode(data, final=not data)).split("\n")
            yield from lines
            if not data:
                if rest:
                    yield rest
                return


def failure_reason(printed: Sequence[str]) -> str:
    """Return the part of pip's output that says why it failed."""
    cause = "The conflict is caused by:"
    if cause in printed:
        after = list(printed[printed.index(cause) + 1 :])
        return "; ".join(after[: after.index("") if "" in after else 3])
    errors = [line.removeprefix("ERROR:").strip() for line in printed if line.startswith("ERROR:")]
    return "; ".join(errors[:3] or printed[-1:])


def _shown(line: str) -> str:
    """Return a line of pip's output in a form worth showing, or ""."""
    words = line.split()
    if words[:1] == ["Collecting"] and len(words) > 1:
        name = re.split(r"[<>=!~;(\[ ]", words[1])[0]
        return f"looking for {name}"
    if words[:1] == ["Downloading"] and len(words) > 1:
        size = line[line.rfind("(") :].strip() if "(" in line else ""
        return f"downloading {words[1].rpartition('/')[2]} {size}".rstrip()
    if line.startswith("Installing collected packages"):
        return f"installing {line.count(',') + 1} packages"
    return ""
