"""float8_e4m3fn on a Gaudi2, whose e4m3 ends at 240 where PyTorch's ends at 448.

The vendor's test_hpu_fp8_ops_any_mode.py (HabanaAI/gaudi-pytorch-bridge 1.19.0) asserts that
``cast_to_fp8_v2`` saturates at 240 on a Gaudi2, and at 448 on other cards. No public source says
what a plain conversion or a copy makes of larger values, so they stay, counted, with a warning.
"""

from __future__ import annotations

from typing import Any

import torch

from porter.device.sim.core.dispatch import Watch, unseen
from porter.device.sim.core.machine import Counters
from porter.device.sim.core.op_schema import OpFacts
from porter.interception.source_lines import ForwardMarks, Site, site_of, warn_once

_CONVERSIONS = ("aten._to_copy", "aten.copy_")


class Fp8Range:
    """Observer that counts tensors of float8_e4m3fn which get magnitudes above the card's limit."""

    def __init__(self, limit: float, counters: Counters, forward: ForwardMarks) -> None:
        self._limit = limit
        self._counters = counters
        self._forward = forward
        self._warned: set[Site] = set()

    def watch(self, op: OpFacts) -> Watch | None:
        if op.packet not in _CONVERSIONS:
            return None

        def after(_args: Any, _kwargs: Any, out: torch.Tensor) -> None:
            if out.dtype is torch.float8_e4m3fn:
                self.check(out, op.name)

        return Watch(after=after)

    def check(self, tensor: torch.Tensor, what: str) -> None:
        """Count a tensor of float8_e4m3fn that has values above the limit."""
        with unseen():
            largest = tensor.detach().float().abs().nan_to_num(0.0)
            if tensor.numel() == 0 or float(largest.max()) <= self._limit:
                return
        site = site_of(self._forward.here(2))
        self._counters.event("fp8_overflow", what, f"above {self._limit:g}", site=site)
        text = (
            f"{site}: float8_e4m3fn above {self._limit:g}, where this card's format ends: "
            "scale to its range (cast_to_fp8_v2 saturates)"
        )
        warn_once(self._warned, site, text)
