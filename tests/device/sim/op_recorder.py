"""Show observers ops on plain CPU tensors, and put tensors on a device without a transfer."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from porter.device.sim.core.dispatch import Observer
from porter.device.sim.core.machine import Machine
from porter.device.sim.core.op_schema import facts_of
from porter.interception import source_lines


class OpRecorder(TorchDispatchMode):
    """Calls observers around every op on plain CPU tensors."""

    def __init__(self, *observers: Observer) -> None:
        super().__init__()
        self.observers = observers

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        source_lines.code_kinds[sys._getframe().f_code] = source_lines.FOREIGN
        kwargs = kwargs or {}
        watches = [observer.watch(facts_of(func)) for observer in self.observers]
        for watch in watches:
            if watch is not None and watch.before is not None:
                watch.before(args, kwargs)
        out = func(*args, **kwargs)
        for watch in watches:
            if watch is not None and watch.after is not None:
                watch.after(args, kwargs, out)
        return out


def on_device(machine: Machine, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor on the machine's first device, without a transfer."""
    made: torch.Tensor = torch.Tensor._make_subclass(
        machine.classes[0], tensor.detach(), tensor.requires_grad
    )
    return made
