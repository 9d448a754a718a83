"""Norms of the transformer that autocast hands half precision, as a layer before them does."""

from __future__ import annotations

import torch
from mixed_precision import mixed
from small import prepare, small_model

from porter.verify.probe import Probe, ProbeError


def run(probe: Probe) -> None:
    """Record both kinds of norm, of numbers that bfloat16 holds; their results are float32."""
    prepare(probe)
    for legacy in (False, True):
        block = small_model(probe, positional_encoding="RoPE", legacy_norm=legacy).blocks[0]
        x = (100 + probe.normal("x", 2, 9, 32)).bfloat16()
        heads = probe.normal("heads", 2, 2, 9, 32 if legacy else 16, scale=3.0).bfloat16()
        for name, norm, given in (
            ("layer", block.norm1.norm, x),
            ("query", block.attn.q_norm, heads),
            ("key", block.attn.k_norm, heads),
        ):
            full_name = f"{'legacy-' * legacy}{name}"
            with probe.attempt(full_name):
                autocast = mixed(probe)
                with torch.no_grad(), autocast:
                    is_mixed = torch.is_autocast_enabled(probe.device.type)
                    output = norm(given if is_mixed else given.float())
                if output.dtype != torch.float32:
                    raise ProbeError(f"{name}: expected float32, found {output.dtype}")
                probe.record(full_name, output)
