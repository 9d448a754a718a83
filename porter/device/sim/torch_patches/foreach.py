"""Tensors grouped by device, as gradient clipping does it.

PyTorch groups in C++, which sees a simulated tensor's CPU storage: clipping then went tensor by
tensor, through a copy of the factor to "the CPU", where a device goes by lists and copies nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

from porter.device.sim.core.tensor import DeviceTensor
from porter.interception.patching import Patches


def install_grouping(patches: Patches) -> None:
    """Let ``torch.nn.utils.clip_grad`` see the devices of simulated tensors."""
    clipping = importlib.import_module("torch.nn.utils.clip_grad")
    native = clipping._group_tensors_by_device_and_dtype

    def grouped(tensorlistlist: Any, with_indices: bool = False) -> Any:
        firsts = tensorlistlist[0]
        if not any(isinstance(tensor, DeviceTensor) for tensor in firsts):
            return native(tensorlistlist, with_indices)
        found: dict[Any, Any] = {}
        for at, first in enumerate(firsts):
            lists, indices = found.setdefault(
                (first.device, first.dtype), ([[] for _ in tensorlistlist], [])
            )
            for kept, tensors in zip(lists, tensorlistlist, strict=True):
                kept.append(tensors[at])
            if with_indices:
                indices.append(at)
        return found

    patches.replace(clipping, "_group_tensors_by_device_and_dtype", grouped)
