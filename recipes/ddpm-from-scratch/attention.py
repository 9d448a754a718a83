"""The attention blocks' products in half precision, where they are exact but for the last rounding.

Keys, queries, values and what is attended to are small whole numbers times a scale: the same in
every dtype. So the error of what the attention hands on is the error of its products alone.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from block_cases import attended, cases

from porter.verify.probe import Probe

HALVES = (torch.float16, torch.bfloat16)


def run(probe: Probe) -> None:
    """Record, per scale and block, what its attention hands to the layer after it.

    In half precision the block is a float32 one under autocast of the device. Recorded is a 64th:
    the linear class attention's results, right as they are in float32, would not fit into float16.
    """
    half = probe.dtype in HALVES
    for scale in probe.parameters["scales"]:
        for name, (make, shape, further) in cases().items():
            if not name.startswith(("class", "attention")) or name.endswith("-few"):
                continue
            with probe.attempt(f"{scale}/{name}"):
                block = probe.alive(make(), name)
                inputs = [probe.normal(f"{name}/{word}", *size) for word, size in
                          (("x", shape), ("c", (shape[0], 3)))[: 1 + len(further)]]  # fmt: skip
                if half:
                    block, inputs = block.float(), [i.float() for i in inputs]
                kept: list[torch.Tensor] = []
                _set(probe, block, name, scale)
                after = block.out_emb if further else block.O_conv
                after.register_forward_pre_hook(
                    lambda _module, given, kept=kept: kept.append(given[0])
                )
                autocast = torch.autocast(probe.device.type, probe.dtype) if half else None
                with torch.no_grad(), autocast or contextlib.nullcontext():
                    attended(block, inputs)
                probe.record_calls(
                    f"{scale}/{name}", [(given / 64).to(probe.dtype) for given in kept], 1
                )


def _set(probe: Probe, block: torch.nn.Module, name: str, scale: int) -> None:
    """Replace the results of the layers that make keys, queries and values, in their own type."""
    for layer, factor in (("KQV_weight", scale), ("Q_emb", scale), ("K_emb", scale), ("LN", 1)):
        if not hasattr(block, layer) or (layer == "LN" and hasattr(block, "KQV_weight")):
            continue

        def numbers(
            _module: Any, _given: Any, out: torch.Tensor, layer: str = layer, factor: int = factor
        ) -> torch.Tensor:
            drawn = torch.randint(-8, 9, out.shape, generator=probe.generator(name, layer))
            return (drawn * factor / 4).to(out.device, out.dtype)

        getattr(block, layer).register_forward_hook(numbers)
