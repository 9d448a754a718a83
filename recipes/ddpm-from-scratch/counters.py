"""What sampling and training ask of a device: a first batch, a second, and two updates."""

from __future__ import annotations

import torch
from small import small_model
from training import launched, train, trainer

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Count sampling (first and later batches) and training.

    Training has two updates, whose losses are printed, however many steps accumulate into one: what
    it waits for beyond that, steps would multiply.
    """
    steps = probe.parameters["steps"]
    model = small_model(probe, timesteps=steps, scale=1.0)
    for name, label in (("first", 3), ("sampling", 4)):
        torch.manual_seed(probe.seed)
        with probe.attempt(name):
            with probe.section(name, per=steps):
                images = model.sample_imgs(1, label, 1.0)
            probe.record(f"{name}/images", images)
    with probe.attempt("training"), launched(probe):
        model = small_model(probe, timesteps=20)
        made = trainer(probe, model, batchSize=steps // 2, numSteps=steps // 2)
        train(probe, made, steps, "training")
        probe.record("training/losses", torch.tensor(made.losses_comb))
