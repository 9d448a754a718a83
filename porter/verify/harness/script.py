"""The upstream's own script, run in this process as a user would run it: ``python SCRIPT ARGS``.

It runs as a fresh ``__main__`` with its own ``sys.argv`` and ``sys.path[0]``, in a working folder
of the probe's. What it prints is kept (bounded) and printed all the same. Afterwards the process
is as before: working folder, ``sys.argv``, ``sys.path``, ``__main__``, environment variables,
torch's default dtype, default device and gradient mode. Modules that it imported stay imported,
except those that only its own folder on ``sys.path`` made visible: another script's folder may hold
others of the same name.
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
from types import ModuleType, TracebackType
from typing import Any, TextIO

import torch

from porter.verify.harness.recording import Enough, ProbeError

KEPT_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class ScriptRun:
    """A script that ended: ``stdout`` and ``stderr`` (their first million characters), and the
    ``folder`` that it ran in."""

    exit_code: int
    stdout: str
    stderr: str
    folder: Path


class ScriptFailed(Exception):
    """A script ended with another exit code than the probe expected."""


class _Tee(io.TextIOBase):
    """Passes text on to a stream and keeps the beginning of it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._kept: list[str] = []
        self._room = KEPT_CHARACTERS

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
        if self._room > 0:
            self._kept.append(text[: self._room])
            self._room -= len(text)
        return len(text)

    def text(self) -> str:
        """What was kept."""
        return "".join(self._kept)


def run_script(
    script: Path, name: str, arguments: Sequence[str], folder: Path
) -> tuple[ScriptRun, BaseException | None]:
    """Run ``script`` with ``sys.argv = [name, *arguments]`` in ``folder``, which is made if absent.

    An exception of the script is its traceback on stderr and exit code 1, as in Python itself; it
    is returned too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _kept_streams() as (out, err), _own_interpreter(script, name, arguments, folder):
        code, error = _run_main(script)
    return ScriptRun(code, out.text(), err.text(), folder), error


def expect_code(
    what: str, run: ScriptRun, expected: int | None, error: BaseException | None = None
) -> ScriptRun:
    """Return ``run``; raise ScriptFailed, with its last words, for another exit code."""
    if expected is None or run.exit_code == expected:
        return run
    words = [line.strip() for line in run.stderr.splitlines() if line.strip()]
    last = f": {words[-1]}" if words else ""
    told = f"{what}: exit code {run.exit_code}, expected {expected}{last}"
    raise ScriptFailed(told) from error


def expect_text(call: str, arguments: Sequence[Any]) -> list[str]:
    """Return the arguments of a command line; paths and numbers become text."""
    found = []
    for argument in arguments:
        if not isinstance(argument, str | int | float | Path) or isinstance(argument, bool):
            kind = type(argument).__name__
            raise ProbeError(f"{call}: expected text, numbers and paths as arguments, found {kind}")
        found.append(str(argument))
    return found


def _run_main(script: Path) -> tuple[int, BaseException | None]:
    main = ModuleType("__main__")
    main.__file__ = str(script)
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    try:
        code = compile(script.read_bytes(), str(script), "exec", dont_inherit=True)
        exec(code, main.__dict__)
    except SystemExit as leave:
        return _exit_code(leave), None
    except (KeyboardInterrupt, Enough):
        raise
    except BaseException as error:
        traceback.print_exception(type(error), error, _own_frames(error.__traceback__))
        return 1, error
    return 0, None


def _exit_code(leave: SystemExit) -> int:
    """The exit code of a SystemExit, by Python's rules."""
    if leave.code is None:
        return 0
    if isinstance(leave.code, int):
        return leave.code
    print(leave.code, file=sys.stderr)
    return 1


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the script's first line on."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


@contextlib.contextmanager
def _kept_streams() -> Iterator[tuple[_Tee, _Tee]]:
    before = sys.stdout, sys.stderr
    out, err = _Tee(before[0]), _Tee(before[1])
    sys.stdout, sys.stderr = out, err
    try:
        yield out, err
    finally:
        sys.stdout, sys.stderr = before


@contextlib.contextmanager
def _own_interpreter(
    script: Path, name: str, arguments: Sequence[str], folder: Path
) -> Iterator[None]:
    """Set the process up for a script, and back afterwards."""
    argv, path, main = sys.argv, list(sys.path), sys.modules["__main__"]
    modules, variables, here = set(sys.modules), dict(os.environ), Path.cwd()
    dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    device = torch.get_default_device()
    sys.argv = [name, *arguments]
    own = str(script.parent)
    sys.path.insert(0, own)
    os.chdir(folder)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.chdir(here)
        sys.argv, sys.path[:], sys.modules["__main__"] = argv, path, main
        os.environ.clear()
        os.environ.update(variables)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)
        if own not in path:
            _forget(own, modules)


def _forget(folder: str, before: set[str]) -> None:
    """Drop modules that were imported from ``folder`` since ``before``, with what is in them."""
    tops = set()
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        file = getattr(module, "__file__", None)
        inside = [file, *getattr(module, "__path__", ())] if "." not in name else []
        if any(place and str(Path(place).parent) == folder for place in inside):
            tops.add(name)
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in tops:
            del sys.modules[name]
