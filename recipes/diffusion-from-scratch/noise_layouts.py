"""The noise that ``noise_batch`` draws, whatever batch, size and memory layout it gets."""

from __future__ import annotations

import torch
from small import device_word, prepare, small_model

from porter.verify.probe import Probe

SIZES = ((32, 32), (8, 24))
"""Of latents: upstream's own, and one that is not square."""


def run(probe: Probe) -> None:
    """Record the noise, of shape (N, 4, L, W), of batches in each layout of ``parameters.layouts``.

    ``latents`` is the layout that the VAE leaves on the CPU: a batch of one contiguous, any other
    channels last (``micro-batches.yaml`` trains with the VAE itself). ``contiguous`` and ``last``
    are given whatever the batch is. ``elsewhere`` stands for a VAE that leaves another layout on a
    device: the noise has to be that of ``latents`` on the CPU, which level 0 records here.
    """
    prepare(probe)
    model = small_model(probe)
    for batch in (1, 2, 3):
        for size in SIZES:
            latents = probe.normal(f"latents-{batch}-{size[0]}", batch, 4, *size).cpu()
            for layout in probe.parameters["layouts"]:
                given = latents.contiguous(memory_format=_memory_format(probe, layout, batch))
                times = torch.full((batch,), 0.25).to(probe.device)
                name = f"{layout}/{batch}x{size[0]}x{size[1]}"
                probe.seed_everything()
                with probe.attempt(name):
                    noisy, noise = model.noise_batch(given.to(probe.device), times)
                    probe.record(f"{name}/noise", noise)
                    probe.record(f"{name}/noisy", noisy)


def _memory_format(probe: Probe, layout: str, batch: int) -> torch.memory_format:
    if layout in ("contiguous", "last"):
        return torch.channels_last if layout == "last" else torch.contiguous_format
    elsewhere = layout == "elsewhere" and device_word(probe) != "cpu"
    return torch.channels_last if (batch > 1) != elsewhere else torch.contiguous_format
