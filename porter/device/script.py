"""Run a script or module in this process as ``python`` would, and keep this process usable."""

from __future__ import annotations

import contextlib
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, TracebackType

from porter.errors import BadInput

_INTERPRETER = re.compile(r"python(\d+(\.\d+)?)?")


class Script:
    """A program to run: a file, or a module named with ``-m``, and its arguments."""

    def __init__(self, words: Sequence[str]) -> None:
        """Take a command line after ``--``. Raises BadInput when it names no script."""
        words = list(words[1:] if words[:1] == ["--"] else words)
        if words and _INTERPRETER.fullmatch(Path(words[0]).name):
            words = words[1:]  # `python script.py`: it is this process that runs it
        self.module = ""
        if words[:1] == ["-m"]:
            words = words[1:]
            self.module = words[0] if words else ""
        if not words:
            raise BadInput("run: expected a script after --, found nothing")
        self.argv = words
        if not self.module and not Path(words[0]).is_file():
            raise BadInput(f"{words[0]}: no such script; paths are relative to {Path.cwd()}")

    def run(self) -> int:
        """Run it and return its exit code; an uncaught error is printed without porter's frames."""
        try:
            with interpreter_state_restored():
                self._run_as_main()
        except SystemExit as leave:
            return exit_code(leave)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            traceback.print_exception(type(error), error, script_frames(error.__traceback__))
            return 1
        return 0

    def _run_as_main(self) -> None:
        sys.argv = list(self.argv)
        if self.module:
            import runpy

            sys.path[0] = str(Path.cwd())
            runpy.run_module(self.module, run_name="__main__", alter_sys=True)
            return
        path = self.argv[0]
        sys.path[0] = str(Path(path).resolve().parent)
        run_as_main(path)


def run_as_main(path: str) -> None:
    """Run a file as a fresh ``__main__``."""
    main = ModuleType("__main__")
    main.__file__ = path
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    exec(code, main.__dict__)


@contextlib.contextmanager
def interpreter_state_restored() -> Iterator[None]:
    """Restore ``sys.argv``, ``sys.path`` and ``__main__`` afterwards."""
    argv, path, main = sys.argv, list(sys.path), sys.modules["__main__"]
    try:
        yield
    finally:
        sys.argv, sys.path[:], sys.modules["__main__"] = argv, path, main


def exit_code(leave: SystemExit) -> int:
    """Return the exit code of a ``SystemExit``, by Python's rules."""
    if leave.code is None:
        return 0
    if isinstance(leave.code, int):
        return leave.code
    print(leave.code, file=sys.stderr)
    return 1


def script_frames(trace: TracebackType | None, *own: str) -> TracebackType | None:
    """Return the traceback from the script's first line on; ``own`` files only led to it."""
    leading = (__file__, "<frozen runpy>", *own)
    while trace is not None and trace.tb_frame.f_code.co_filename in leading:
        trace = trace.tb_next
    return trace
