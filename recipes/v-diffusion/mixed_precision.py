"""The model in half precision: upstream's own in bfloat16, and each level's under autocast."""

from __future__ import annotations

import inspect

import torch
from forward import inputs
from narrow import narrow
from torch_alone import stand_in

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Record ``image/...``, from the same weights and inputs.

    In float64 that is the reference, and at level 0 upstream's way: weights and activations in the
    dtype. A level that has mixed precision keeps its weights in float32 and calls the model as its
    scripts do with --bf16 or --fp16.
    """
    stand_in()
    from diffusion import sampling

    dtype = probe.dtype
    mixes = "dtype" in inspect.signature(sampling.make_autocast_model_fn).parameters
    if mixes:
        probe.dtype = torch.float32
    model = probe.alive(narrow("cc12m_1", probe.parameters["factor"]))
    call = sampling.make_autocast_model_fn(model, dtype=dtype) if mixes else model
    with torch.no_grad():
        for batch, height, width in probe.parameters["sizes"]:
            name = f"image/{batch}x{height}x{width}"
            with probe.attempt(name):
                image = call(*inputs(probe, "cc12m_1", batch, height, width))
                probe.record(name, image.to(dtype))
