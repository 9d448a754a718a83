"""What happens when an op meets operands from different devices: a real backend's refusal.

0-dim CPU tensors are accepted beside device tensors as PyTorch accepts them on every backend, and
so are the few ops that cross devices by design (``copy_``, CPU indices).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from porter.device.sim.facts import OpFacts

if TYPE_CHECKING:
    from porter.device.sim.machine import Machine
    from porter.device.sim.tensor import DeviceTensor


def settle(
    machine: Machine,  # noqa: ARG001
    cls: type[DeviceTensor],
    facts: OpFacts,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the operands as the op may have them, or raise the error of a real backend."""
    devices = []
    for arg in facts.tensor_args:
        if arg.position is None:
            value = kwargs.get(arg.name)
        else:
            value = args[arg.position] if arg.position < len(args) else None
        for tensor in value if arg.is_list and value is not None else (value,):
            if not isinstance(tensor, torch.Tensor) or type(tensor) is cls:
                continue
            if tensor.dim() or tensor.device.type != "cpu":
                devices.append(tensor.device)
    if devices:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{cls.device} and {devices[0]}!"
        )
    return args, kwargs
