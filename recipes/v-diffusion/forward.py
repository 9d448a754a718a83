"""One forward pass of a narrow model at several sizes, square and not, one image and more."""

from __future__ import annotations

import torch
from aten_calls import AtenCalls
from narrow import narrow
from torch_alone import stand_in

from porter.verify.probe import Probe


def inputs(probe: Probe, model: str, batch: int, height: int, width: int) -> list[torch.Tensor]:
    """What the model is called with: noisy images, their timesteps, for cc12m_1 embeddings too."""
    label = f"{batch}x{height}x{width}"
    drawn = [probe.normal(f"image {label}", batch, 3, height, width)]
    drawn.append(probe.uniform(f"t {label}", batch))
    if model.startswith("cc12m"):
        drawn.append(probe.normal(f"clip {label}", batch, 512))
    return drawn


def run(probe: Probe) -> None:
    """Record ``image/...`` for every size, and under autocast."""
    stand_in()
    kind = probe.parameters["model"]
    model = probe.alive(narrow(kind, probe.parameters["factor"]))
    with torch.no_grad():
        for batch, height, width in probe.parameters["sizes"]:
            counted = AtenCalls()
            drawn = inputs(probe, kind, batch, height, width)
            name = f"image/{batch}x{height}x{width}"
            with probe.attempt(name), counted:
                probe.record(name, model(*drawn))
            for call in ("native_group_norm", "native_layer_norm"):
                probe.count(f"{call}_calls", counted.calls[call])
        if probe.dtype in (torch.float32, torch.float64):  # autocast leaves float64 alone
            batch, height, width = probe.parameters["sizes"][0]
            name, mixed = "autocast-bfloat16", torch.autocast(probe.device.type, torch.bfloat16)
            with probe.attempt(name), mixed:
                image = model(*inputs(probe, kind, batch, height, width))
                probe.record(f"{name}/image", image)
