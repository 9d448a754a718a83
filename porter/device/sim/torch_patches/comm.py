"""``torch.nn.parallel``'s copies between devices, for DataParallel: scatter, gather, broadcast.

PyTorch builds their C++ half (``torch/csrc/cuda/comm.cpp``) with CUDA only. A device here is an
index of the accelerator, or -1 for the host, as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from porter.device.sim.core.machine import accelerator
from porter.interception.patching import Patches

Tensors = Sequence[torch.Tensor]


def _device(index: int | None) -> torch.device:
    machine = accelerator()
    assert machine is not None
    return torch.device("cpu") if index == -1 else machine.device(index)


def _scatter(
    tensor: torch.Tensor,
    devices: Sequence[int],
    chunk_sizes: Sequence[int] | None = None,
    dim: int = 0,
    streams: Any = None,  # noqa: ARG001
) -> list[torch.Tensor]:
    if chunk_sizes is None:
        chunks = tensor.chunk(len(devices), dim)
    elif len(chunk_sizes) != len(devices):
        raise RuntimeError(
            f"scatter: expected one chunk size for each of {len(devices)} devices, "
            f"found {len(chunk_sizes)}"
        )
    else:
        chunks = tensor.split(list(chunk_sizes), dim)
    pairs = zip(chunks, devices, strict=False)  # fewer rows than devices: fewer chunks
    return [chunk.to(_device(index), non_blocking=True) for chunk, index in pairs]


def _scatter_out(
    tensor: torch.Tensor,
    out: Tensors,
    dim: int = 0,
    streams: Any = None,  # noqa: ARG001
) -> list[torch.Tensor]:
    chunks = tensor.split([each.size(dim) for each in out], dim)
    return [each.copy_(chunk) for each, chunk in zip(out, chunks, strict=True)]


def _gather(tensors: Tensors, dim: int = 0, destination: int | None = None) -> torch.Tensor:
    target = _device(destination)
    return torch.cat([each.to(target) for each in tensors], dim)


def _gather_out(tensors: Tensors, out: torch.Tensor, dim: int = 0) -> torch.Tensor:
    return out.copy_(torch.cat([each.to(out.device) for each in tensors], dim))


def _broadcast(tensor: torch.Tensor, devices: Sequence[int]) -> list[torch.Tensor]:
    return [tensor.to(_device(index), non_blocking=True) for index in devices]


def _broadcast_out(tensor: torch.Tensor, out: Tensors) -> list[torch.Tensor]:
    return [each.copy_(tensor) for each in out]


def _broadcast_coalesced(
    tensors: Tensors,
    devices: Sequence[int],
    buffer_size: int = 0,  # noqa: ARG001
) -> list[list[torch.Tensor]]:
    return [[tensor.to(_device(index)) for tensor in tensors] for index in devices]


def install_comm(patches: Patches) -> None:
    """Put these functions where ``torch.nn.parallel.comm`` calls them."""
    for function in (
        _scatter, _scatter_out, _gather, _gather_out, _broadcast, _broadcast_out,
        _broadcast_coalesced,
    ):  # fmt: skip
        patches.replace(torch._C, function.__name__, function)
