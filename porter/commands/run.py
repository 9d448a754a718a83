"""Run a script of a tree on a real or simulated device, and print the device's counters."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from porter.commands.options import add_flag
from porter.device import DEVICES, Device, open_device
from porter.device.report import is_idle, report_lines
from porter.errors import BadInput, Exit

EXAMPLES = (
    (
        "porter run --device sim:hpu -- train.py --epochs 1",
        "run a script on a simulated Gaudi, and print what it counted",
    ),
    (
        "porter run --device sim:npu --migrate -- sample.py",
        "try a script that names CUDA, before it is ported",
    ),
    (
        "porter run --device sim:npu --json counts.json -- -m my.module",
        "run a module, and write the counters to a file",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} --device DEVICE [options] -- SCRIPT.py|-m MODULE [ARGUMENTS]"
    parser.add_argument("--device", required=True, metavar="DEVICE", help=", ".join(DEVICES))
    parser.add_argument(
        "--json", metavar="FILE", help="write the counters to FILE ('-': standard output)"
    )
    parser.add_argument(
        "--migration-log",
        metavar="FILE",
        help="write every mapped CUDA call to FILE (.jsonl: as JSON)",
    )
    add_flag(parser, "--migrate", "let the vendor's migration serve CUDA calls (hpu, npu)")
    text = "refuse copies from the host inside a captured graph, which are otherwise counted"
    add_flag(parser, "--strict-capture", text)
    add_flag(parser, "--quiet", "print no counters")
    parser.add_argument("script", nargs=argparse.REMAINDER, help="the script and its arguments")


def run(args: argparse.Namespace) -> int:
    """Run the script; return its exit code."""
    import json
    import os

    from porter.device.script import Script
    from porter.report.ci.write import write_text

    script = Script(args.script)
    device = open_device(args.device)
    if args.strict_capture:
        os.environ["PORTER_STRICT_CAPTURE"] = "1"  # of processes that the script starts, too
    device.prepare()
    if args.migrate:
        _migrate(device)
    code = int(Exit.BUG)
    try:
        with _migration_log(args.migration_log, device):
            code = script.run()
    finally:
        sys.stdout.flush()
        counters = device.counters(Path.cwd())
        if args.json:
            text = json.dumps(counters, indent=2)
            print(text) if args.json == "-" else write_text(Path(args.json), text)
        if not args.quiet:
            print("\n".join(report_lines(device.title(), counters)), file=sys.stderr)
        if is_idle(counters):
            print(_idle(device), file=sys.stderr)
    return code


def _idle(device: Device) -> str:
    return (
        f"porter: warning: nothing was dispatched to {device.name}: the script stayed on the CPU; "
        f"name the device to it ({device.kind}), or let it find one"
    )


_MIGRATIONS = {
    "hpu": "habana_frameworks.torch.gpu_migration",
    "npu": "torch_npu.contrib.transfer_to_npu",
}


def _migrate(device: Device) -> None:
    """Import the vendor's migration. Raises BadInput for a device that has none."""
    import importlib

    if device.kind not in _MIGRATIONS:
        raise BadInput(f"--migrate: {device.name} serves CUDA calls itself or not at all")
    importlib.import_module(_MIGRATIONS[device.kind])


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
