"""A model whose images are not numbers: the run says so and ends, as upstream's does."""

from __future__ import annotations

import contextlib
import io

import torch
from small import small_model

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Record what sampling prints, and count whether it ended the run."""
    model = small_model(probe, ("res",))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    ended = 0
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            model.sample_imgs(1, 3)
        except SystemExit:
            ended = 1
    probe.record_text("printed", printed.getvalue())
    probe.count("ended", ended)
