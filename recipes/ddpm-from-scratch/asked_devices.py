"""What becomes of a device that is asked for and is not there, or has no such name."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any
from unittest import mock

import click
from training import device_word

from porter.verify.probe import Probe

UNKNOWN = ("npu:1", "cuda", "ascend", "gpu0")
REQUIRED = ("--loadDir", "models", "--loadFile", "a.pkl", "--loadDefFile", "a.json")


def run(probe: Probe) -> None:
    """Count what is refused, and that an absent GPU alone is the CPU, with a message."""
    sys.path.insert(0, str(probe.tree / "src"))
    from helpers.device import find_device

    def refused(name: str, kind: type[Exception]) -> bool:
        try:
            find_device(name)
        except kind as error:
            return f'"{name}"' in str(error)
        return False

    own = device_word(probe)
    with probe.attempt("unknown_refused"):
        probe.count("unknown_refused", sum(refused(name, ValueError) for name in UNKNOWN))
    absent = [name for name in ("hpu", "npu") if name != own]
    with probe.attempt("absent_taken"):
        left = [name for name in absent if not refused(name, RuntimeError)]
        probe.count("absent_taken", len(left))
    with probe.attempt("own_found"):
        found = find_device(own)
        probe.count("own_found", int(found.type == probe.device.type and not found.index))
    if own != "gpu":
        printed = io.StringIO()
        with probe.attempt("gpu_is_cpu"), contextlib.redirect_stdout(printed):
            is_cpu = find_device("gpu").type == "cpu"
            told = "GPU not available" in printed.getvalue()
            probe.count("gpu_is_cpu", int(is_cpu and told))

    sys.path.insert(0, str(probe.tree))
    for name, module, required in (("train", "train", ()), ("infer", "src.infer", REQUIRED)):
        with probe.attempt(name):
            command = getattr(importlib.import_module(module), name)
            _count_options(probe, command, name, required, own)
    with probe.attempt("cards"):
        _count_cards(probe, own)


def _count_cards(probe: Probe, own: str) -> None:
    """Count the card that a model for the named device is made on, alone and as rank 1.

    Whether there is one the model says in upstream's words, "gpu" or "cpu".
    """
    from src.models.diff_model import diff_model

    with mock.patch.dict(os.environ):
        for name, rank in (("alone", None), ("rank1", "1")):
            os.environ.pop("LOCAL_RANK", None)
            if rank is not None:
                os.environ["LOCAL_RANK"] = rank
            model = diff_model(3, 8, 1, 1, ["res"], 4, "cosine", 16, own)
            probe.count(f"said/{name}", int(model.dev == ("cpu" if own == "cpu" else "gpu")))
            if own != "cpu":
                probe.count(f"card/{name}", model.device.index)


def _count_options(
    probe: Probe, command: Any, name: str, required: Sequence[str], own: str
) -> None:
    """Count the devices that the command line refuses, and that it takes its own in any case."""
    for asked in ("npu:1", "cuda"):
        try:
            command.make_context(name, [*required, "--device", asked])
        except click.BadParameter as error:
            probe.count(f"{name}_refuses", int(asked in error.format_message()))
    context = command.make_context(name, [*required, "--device", own.upper()])
    probe.count(f"{name}_takes", int(context.params["device"] == own))
