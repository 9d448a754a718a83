"""Run an upstream's script in this process as a user would: ``python SCRIPT ARGS``.

It runs as a fresh ``__main__`` with its own ``sys.argv`` and ``sys.path[0]``, in a working folder
of the probe. The beginning of its output is kept, and all of it is printed. Afterwards these are
restored: working folder, ``sys.argv``, ``sys.path``, ``__main__``, environment variables, torch's
default dtype, default device and gradient mode. Imported modules stay imported, except those found
only through the script's folder on ``sys.path``: another script's folder may hold others of the
same name.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch

from porter.device.script import (
    exit_code,
    interpreter_state_restored,
    run_as_main,
    script_frames,
)
from porter.verify.harness.recording import Enough, ProbeError

_ADVICE = ("Set TORCH_LOGS=", "Set TORCHDYNAMO_VERBOSE=1", "You can suppress this exception",
           "import torch._dynamo", "torch._dynamo.config.suppress_errors = True")  # fmt: skip
"""How the lines begin that end an error of torch._dynamo, in PyTorch 2.5 to 2.13."""

KEPT_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class ScriptRun:
    """A finished script; ``stdout`` and ``stderr`` hold their first million characters, ``folder``
    is where it ran."""

    exit_code: int
    stdout: str
    stderr: str
    folder: Path


class ScriptFailed(Exception):
    """A script ended with an exit code that the probe did not expect."""


class _Tee(io.TextIOBase):
    """Passes text on to a stream and keeps its beginning."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._kept: list[str] = []
        self._remaining = KEPT_CHARACTERS

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    @property
    def buffer(self) -> Any:
        return self._stream.buffer

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._stream.fileno()

    def flush(self) -> None:
        self._stream.flush()

    def write(self, text: str) -> int:
        self._stream.write(text)
        if self._remaining > 0:
            self._kept.append(text[: self._remaining])
            self._remaining -= len(text)
        return len(text)

    def text(self) -> str:
        """Return the beginning that was kept."""
        return "".join(self._kept)


def run_script(
    script: Path, name: str, arguments: Sequence[str], folder: Path
) -> tuple[ScriptRun, BaseException | None]:
    """Run ``script`` with ``sys.argv = [name, *arguments]`` in ``folder``, created if absent.

    An exception gives its traceback on stderr and exit code 1, as in Python itself, and is returned
    too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    out: Any = _Tee(sys.stdout)
    err: Any = _Tee(sys.stderr)
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        interpreter_state_restored(),
        _own_interpreter(script, name, arguments, folder),
    ):
        code, error = _run_main(script)
    return ScriptRun(code, out.text(), err.text(), folder), error


def expect_code(
    what: str, run: ScriptRun, expected: int | None, error: BaseException | None = None
) -> ScriptRun:
    """Return ``run``; for another exit code raise ScriptFailed with the line of stderr that says
    why (:func:`telling_line`)."""
    if expected is None or run.exit_code == expected:
        return run
    why = telling_line(run.stderr)
    text = f"{what}: exit code {run.exit_code}, expected {expected}"
    raise ScriptFailed(f"{text}: {why}" if why else text) from error


def telling_line(stderr: str) -> str:
    """Return the last line that is no advice of PyTorch's compiler, which follows its errors."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    while len(lines) > 1 and lines[-1].startswith(_ADVICE):
        lines.pop()
    return lines[-1] if lines else ""


def expect_text(call: str, arguments: Sequence[Any]) -> list[str]:
    """Return the arguments of a command line as text; they may be paths and numbers."""
    found = []
    for argument in arguments:
        if not isinstance(argument, str | int | float | Path) or isinstance(argument, bool):
            kind = type(argument).__name__
            raise ProbeError(f"{call}: expected text, numbers and paths as arguments, found {kind}")
        found.append(str(argument))
    return found


def _run_main(script: Path) -> tuple[int, BaseException | None]:
    try:
        run_as_main(str(script))
    except SystemExit as error:
        return exit_code(error), None
    except (KeyboardInterrupt, Enough):
        raise
    except BaseException as error:
        traceback.print_exception(type(error), error, script_frames(error.__traceback__, __file__))
        return 1, error
    return 0, None


@contextlib.contextmanager
def _own_interpreter(
    script: Path, name: str, arguments: Sequence[str], folder: Path
) -> Iterator[None]:
    """Set the process up for a script; restore it afterwards."""
    modules, variables, cwd = set(sys.modules), dict(os.environ), Path.cwd()
    dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    device = torch.get_default_device()
    sys.argv = [name, *arguments]
    own = str(script.parent)
    is_new = own not in sys.path
    sys.path.insert(0, own)
    os.chdir(folder)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(variables)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)
        if is_new:
            _forget(own, modules)


def _forget(folder: str, before: set[str]) -> None:
    """Drop modules imported from ``folder`` since ``before``, with their submodules."""
    tops = set()
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        file = getattr(module, "__file__", None)
        paths = [file, *getattr(module, "__path__", ())] if "." not in name else []
        if any(path and str(Path(path).parent) == folder for path in paths):
            tops.add(name)
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in tops:
            del sys.modules[name]
