"""The progress bar of sampling: there when it is asked for, and no part of the images."""

from __future__ import annotations

import contextlib
import io

import torch
from small import prepare, small_model

from porter.verify.probe import Probe, ProbeError

STEPS = 2


def run(probe: Probe) -> None:
    """Record the images with and without a bar."""
    prepare(probe)
    model = small_model(probe)
    for name, asked in (("images/none", False), ("images/bar", True)):
        torch.manual_seed(probe.seed)
        shown = io.StringIO()
        with probe.attempt(name):
            with contextlib.redirect_stderr(shown):
                images = model.sample_imgs(1, STEPS, 3, 2.0, use_tqdm=asked)
            if (f"{STEPS}/{STEPS}" in shown.getvalue()) != asked:
                raise ProbeError(f"use_tqdm={asked}: found {shown.getvalue()!r}")
            probe.record(name, images[..., ::4, ::4])
