"""The schedule and the sampler by themselves, and how often the sampler calls its model."""

from __future__ import annotations

import torch

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Record the schedule, the sampler's image and its calls of a model without modules."""
    from denoiser import sample, schedule

    steps = probe.parameters["steps"]
    probe.record("schedule", schedule(steps))

    def model(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        probe.count("model-calls", 1)
        return (0.7 * x + (3 * t).sin()[:, None, None, None]).tanh()

    with probe.attempt("image"):
        probe.record("image", sample(model, probe.normal("x", 2, 3, 6, 8), steps))
