"""The random crops of CLIP guidance, and the gradient that goes back through them."""

from __future__ import annotations

import torch

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Record cutouts and gradients: images larger and smaller than a cutout, square and not."""
    import clip_sample

    torch.set_default_dtype(torch.float32)  # upstream draws in it, and float64 draws others
    for height, width in probe.parameters["sizes"]:
        for power in probe.parameters["powers"]:
            name = f"{height}x{width}-{power}"
            make_cutouts = clip_sample.MakeCutouts(probe.parameters["cut_size"], 4, power)
            image = probe.normal(name, 2, 3, height, width).requires_grad_()
            with probe.attempt(name):
                probe.seed_everything()
                cutouts = make_cutouts(image)
                weights = torch.linspace(-1, 1, cutouts.numel()).to(cutouts).reshape(cutouts.shape)
                (cutouts * weights).sum().backward()
                assert image.grad is not None
                probe.record(f"{name}/cutouts", cutouts.detach())
                probe.record(f"{name}/grad", image.grad)
                probe.record(f"{name}/next", torch.rand(4))  # as many numbers were drawn
