"""A layer norm whose own parameters are in half precision, under autocast."""

from __future__ import annotations

import contextlib

import torch

from porter.verify.probe import Probe, ProbeError


def run(probe: Probe) -> None:
    """Record it; from level fp32-norm on it is float32."""
    from diffusers.models.attention_processor import Attention

    attention = Attention(8, 64, heads=2, dim_head=4, cross_attention_norm="layer_norm")
    norm = probe.alive(attention).norm_encoder_hidden_states
    x = probe.normal("x", 4, 6, 64)
    half = probe.dtype in (torch.float16, torch.bfloat16)
    kind = probe.device.type
    with (
        torch.no_grad(),
        torch.autocast(kind, dtype=probe.dtype) if half else contextlib.nullcontext(),
    ):
        output = norm(x)
    knows = (probe.tree / "src/diffusers/models/normalization.py").is_file()
    if half and knows and output.dtype != torch.float32:
        raise ProbeError(f"{probe.dtype}: expected float32, found {output.dtype}")
    probe.record("norm", output.to(probe.dtype))
