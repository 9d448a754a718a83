"""cc12m_1 as it is published, 602,895,947 parameters, at its own size."""

from __future__ import annotations

import torch
from forward import inputs
from torch_alone import stand_in

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Record one forward pass at 256x256."""
    stand_in()
    from diffusion import get_model

    model = probe.alive(get_model("cc12m_1")())
    probe.count("parameters", sum(p.numel() for p in model.parameters()))
    with torch.no_grad():
        probe.record("image", model(*inputs(probe, "cc12m_1", 1, 256, 256)))
