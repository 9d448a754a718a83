"""Run a script of a tree on a device, real or simulated, and print what was counted."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from porter.atomic import write_atomic
from porter.device import DEVICES, Device, open_device
from porter.device.report import report_lines
from porter.errors import BadInput, Exit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = f"{parser.prog} --device NAME [options] -- SCRIPT.py|-m MODULE [ARGUMENTS]"
    parser.add_argument("--device", required=True, metavar="NAME", help=", ".join(DEVICES))
    parser.add_argument("--json", metavar="FILE", help="write the counters there ('-': stdout)")
    parser.add_argument(
        "--migration-log", metavar="FILE", help="write every mapped CUDA call there (.jsonl: JSON)"
    )
    parser.add_argument("--quiet", action="store_true", help="print no counters")
    parser.add_argument("script", nargs=argparse.REMAINDER, help="the script and its arguments")


class _Program:
    """What is to run: a file, or a module named with ``-m``."""

    def __init__(self, words: Sequence[str]) -> None:
        words = list(words[1:] if words[:1] == ["--"] else words)
        self.module = ""
        if words[:1] == ["-m"]:
            words = words[1:]
            self.module = words[0] if words else ""
        if not words:
            raise BadInput("run: expected a script after --, found nothing")
        self.argv = words
        if not self.module and not Path(words[0]).is_file():
            raise BadInput(f"{words[0]}: no such script; paths are relative to {Path.cwd()}")

    def run(self) -> None:
        """Run it as ``__main__``, as ``python`` would."""
        if self.module:
            import runpy

            sys.argv = list(self.argv)
            sys.path[0] = str(Path.cwd())
            runpy.run_module(self.module, run_name="__main__", alter_sys=True)
            return
        path = self.argv[0]
        sys.argv = list(self.argv)
        sys.path[0] = str(Path(path).resolve().parent)
        main = ModuleType("__main__")
        main.__file__ = path
        main.__dict__["__builtins__"] = __builtins__
        sys.modules["__main__"] = main
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec")
        exec(code, main.__dict__)


@contextlib.contextmanager
def _own_interpreter_state() -> Iterator[None]:
    """Put ``sys.argv``, ``sys.path`` and ``__main__`` back afterwards."""
    argv, path, main = sys.argv, list(sys.path), sys.modules["__main__"]
    try:
        yield
    finally:
        sys.argv, sys.path[:], sys.modules["__main__"] = argv, path, main


def _exit_code(leave: SystemExit) -> int:
    """The exit code of a ``SystemExit``, by Python's rules."""
    if leave.code is None:
        return 0
    if isinstance(leave.code, int):
        return leave.code
    print(leave.code, file=sys.stderr)
    return 1


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the script's first line on."""
    here = __file__
    while trace is not None and trace.tb_frame.f_code.co_filename in (here, "<frozen runpy>"):
        trace = trace.tb_next
    return trace


def _run(program: _Program) -> int:
    try:
        with _own_interpreter_state():
            program.run()
    except SystemExit as leave:
        return _exit_code(leave)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        traceback.print_exception(type(error), error, _own_frames(error.__traceback__))
        return 1
    return 0


@contextlib.contextmanager
def _migration_log(path: str | None, device: Device) -> Iterator[None]:
    if path is None:
        yield
        return
    if device.kind not in ("hpu", "npu"):
        raise BadInput(
            f"--migration-log: {device.name} serves CUDA calls itself; nothing is mapped"
        )
    from porter.migrate.migration import logging_to

    with logging_to(Path(path), target=device.kind, root=Path.cwd()) as log:
        yield
    print(log.summary(), file=sys.stderr)


def _write_json(path: str, counters: dict[str, Any]) -> None:
    text = json.dumps(counters, indent=2) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    write_atomic(path, text.encode())


def run(args: argparse.Namespace) -> int:
    """Run the script; return its exit code."""
    program = _Program(args.script)
    device = open_device(args.device)
    device.prepare()
    code = int(Exit.BUG)
    try:
        with _migration_log(args.migration_log, device):
            code = _run(program)
    finally:
        sys.stdout.flush()
        counters = device.counters(Path.cwd())
        if args.json:
            _write_json(args.json, counters)
        if not args.quiet:
            print("\n".join(report_lines(device.title(), counters)), file=sys.stderr)
    return code
