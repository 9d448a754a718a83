"""Sampling with every option at its default: the port must keep upstream's defaults."""

from __future__ import annotations

import torch
from small import cpu_noise, small_model

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Record a batch of two and one step of sampling, with every option at its default."""
    model = small_model(probe, ("res",), schedule="linear").eval()  # no step divides by 1e-5
    times = torch.full((2,), 3, device=probe.device)
    with cpu_noise(probe), torch.no_grad():
        with probe.attempt("images"):
            torch.manual_seed(probe.seed)
            probe.record("images", model.sample_imgs(2))
        with probe.attempt("step"):
            torch.manual_seed(probe.seed + 1)
            probe.record("step", model.unnoise_batch(probe.normal("x", 2, 3, 64, 64), times, times))
