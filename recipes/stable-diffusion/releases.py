"""Whether a release of the vendor's software has graphs, as the tree asks, and what it prints."""

from __future__ import annotations

import contextlib
import importlib
import io
from typing import Any

import small
import torch

from porter.verify.probe import Probe

CALLS = 4


def run(probe: Probe) -> None:
    """Call a model several times, each time with other numbers.

    On an Ascend its software has no graphs, as older releases have none.
    """
    if probe.device.type == "npu":
        vars(torch.npu).pop("NPUGraph")  # type: ignore[attr-defined]
    printed = io.StringIO()
    call: Any = None
    with contextlib.redirect_stdout(printed), contextlib.suppress(ImportError):
        call = importlib.import_module("ldm.modules.graphs").apply_model
    probe.count(
        "told", printed.getvalue().count("No graphs, each operator is dispatched by itself")
    )
    probe.seed_everything()
    model = small.build(probe, small.without_stages()).to(probe.device)
    cond = probe.normal("cond", 2, 7, 32)
    with torch.no_grad():
        for number in range(CALLS):
            x = probe.normal(f"x{number}", 2, 4, 4, 4)
            t = torch.tensor([3 + number, 700]).to(probe.device)
            answer = call(model, x, t, cond) if call else model.apply_model(x, t, cond)
            probe.record(f"answer/{number}", answer)
