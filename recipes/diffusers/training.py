"""Training: plain, with all that rides along, and resumed."""

from __future__ import annotations

import torch
from script_training import options_of, record_losses, train, words, write_inputs

from porter.verify.probe import Probe, ProbeError

CHECKPOINTED = ("--use_ema", "--gradient_checkpointing", "--gradient_accumulation_steps", 2)


def run(probe: Probe) -> None:
    """Record losses, what was written, and weights, of three runs; the third resumes the second.

    With ``noise_on_cpu`` the script draws from the CPU's generator where it has the option, as
    every level does on the CPU.
    """
    model = probe.parameters["architecture"]
    write_inputs(probe, model)
    steps = probe.parameters["steps"]
    drawn = []
    if probe.parameters.get("noise_on_cpu") and "--noise_on_cpu" in options_of(probe):
        drawn = ["--noise_on_cpu"]
    with probe.attempt("plain"):
        record_losses(probe, "plain/losses", train(probe, words(model, steps, *drawn)))
    more = (*CHECKPOINTED, "--checkpointing_steps", 2, "--checkpoints_total_limit", 1, *drawn)
    with probe.attempt("checkpointed"):
        saved = train(probe, words(model, 4, *more, output="saved"))
        record_losses(probe, "checkpointed/losses", saved)
        probe.record_files("checkpointed/files", "saved")
        probe.record("checkpointed/ema", _weights(probe, "saved/checkpoint-4/unet_ema"))
    with probe.attempt("resumed"):
        if "checkpointed" in probe.failures:
            raise ProbeError("not run: it goes on from `checkpointed`, which failed")
        again = words(model, 6, *more, "--resume_from_checkpoint", "latest", output="saved")
        record_losses(probe, "resumed/losses", train(probe, again))
        probe.record("resumed/weights", _weights(probe, "saved/unet"))
    snr = words(
        model, 4, "--snr_gamma", 5, "--noise_offset", 0.1, "--input_perturbation", 0.1, *drawn
    )
    with probe.attempt("weighted"):
        record_losses(probe, "weighted/losses", train(probe, snr))


def _weights(probe: Probe, folder: str) -> torch.Tensor:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(probe.scratch / folder)
    return torch.cat([parameter.detach().flatten() for parameter in unet.parameters()])
