"""Whether a release of the vendor's software has graphs, as the tree asks, and what it prints."""

from __future__ import annotations

import contextlib
import io

import torch
from small import prepare, small_model

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Sample two batches. On an Ascend the software has no graphs, as older releases have none."""
    if probe.device.type == "npu":
        vars(torch.npu).pop("NPUGraph")  # type: ignore[attr-defined]
    prepare(probe)
    model = small_model(probe)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for name in ("first", "second"):
            torch.manual_seed(probe.seed + len(name))
            probe.record(name, model.sample_imgs(1, 2, 3, 2.0)[..., ::4, ::4])
    probe.count("told", printed.getvalue().count("No graphs, every operation is dispatched"))
