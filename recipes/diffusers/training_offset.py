"""Training with offset and perturbed noise, all of it the device's own where nothing is asked."""

from __future__ import annotations

from script_training import record_losses, train, words, write_inputs

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Record the losses: other noise, or noise of another generator, gives others."""
    write_inputs(probe, "sd21")
    options = ("--noise_offset", 0.1, "--input_perturbation", 0.1)
    record_losses(probe, "losses", train(probe, words("sd21", 3, *options)))
