"""``torch_npu.npu.amp``: autocast and the gradient scaler."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from porter.device.sim.ascend.grad_scaler import GradScaler


class autocast(torch.autocast):
    """``torch.autocast("npu")`` with float16 as the default."""

    def __init__(
        self,
        enabled: bool = True,
        dtype: torch.dtype = torch.float16,
        cache_enabled: bool = True,
    ) -> None:
        super().__init__("npu", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, cast_inputs: torch.dtype | None = None
) -> Any:
    """``torch.amp.custom_fwd`` for npu."""
    if fwd is None:
        return functools.partial(custom_fwd, cast_inputs=cast_inputs)
    return torch.amp.custom_fwd(fwd, device_type="npu", cast_inputs=cast_inputs)


def custom_bwd(bwd: Callable[..., Any]) -> Any:
    """``torch.amp.custom_bwd`` for npu."""
    return torch.amp.custom_bwd(bwd, device_type="npu")


__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]
