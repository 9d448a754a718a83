"""What becomes of a device that is asked for and is not there, or has no such name."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys

import click
from small import device_word, prepare

from porter.verify.probe import Probe

UNKNOWN = ("npu:1", "cuda", "ascend", "gpu0")
REQUIRED = ("--loadDir", "models", "--loadFile", "a.pkl", "--loadDefFile", "a.json")


def run(probe: Probe) -> None:
    """Count what is refused, and that an absent GPU alone is the CPU, with a message."""
    prepare(probe)
    sys.path.insert(0, str(probe.tree / "src"))
    from helpers.device import find_device

    def refused(name: str, kind: type[Exception]) -> bool:
        try:
            find_device(name)
        except kind as error:
            return f'"{name}"' in str(error)
        return False

    own = device_word(probe)
    probe.count("unknown_refused", sum(refused(name, ValueError) for name in UNKNOWN))
    absent = [name for name in ("hpu", "npu") if name != own]
    left = [name for name in absent if not refused(name, RuntimeError)]
    probe.count("absent_taken", len(left))
    probe.count("own_found", int(find_device(own).type == probe.device.type))
    if own != "gpu":
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            found = find_device("gpu").type
        probe.count("gpu_is_cpu", int(found == "cpu" and "GPU not available" in printed.getvalue()))

    sys.path.insert(0, str(probe.tree))
    commands = {
        "train": (importlib.import_module("train").train, ()),
        "infer": (importlib.import_module("src.infer").infer, REQUIRED),
    }
    for name, (command, required) in commands.items():
        for asked in ("npu:1", "cuda"):
            try:
                command.make_context(name, [*required, "--device", asked])
            except click.BadParameter as error:
                probe.count(f"{name}_refuses", int(asked in error.format_message()))
        context = command.make_context(name, [*required, "--device", own.upper()])
        probe.count(f"{name}_takes", int(context.params["device"] == own))
