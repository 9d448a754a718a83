"""For testing the accounting without the rest of the simulator: observers shown ops on plain
tensors, and a bare machine whose tensors are made by :func:`on_device`."""

from __future__ import annotations

import sys
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from porter.device.sim import spots
from porter.device.sim.dispatch import Observer
from porter.device.sim.facts import facts_of
from porter.device.sim.machine import Machine
from porter.device.sim.profile import AutocastLists, Profile

KEYS = {"hpu": "HPU", "cuda": "CUDA", "npu": "PrivateUse1"}


class OpRecorder(TorchDispatchMode):
    """Calls observers around every op on plain CPU tensors."""

    def __init__(self, *observers: Observer) -> None:
        super().__init__()
        self.observers = observers

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        spots._kinds[sys._getframe().f_code] = spots._FOREIGN
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


@cache
def _machine(name: str) -> Machine:
    if name == "npu" and not hasattr(torch, "npu"):
        torch.utils.rename_privateuse1_backend("npu")
        torch._register_device_module("npu", SimpleNamespace(is_available=lambda: False))
    return Machine(Profile(name, f"simulated {name}", KEYS[name], "", (), AutocastLists("none")))


def bare_machine(name: str) -> Machine:
    """The machine of a device type, with nothing counted or observed, and torch not patched."""
    machine = _machine(name)
    for observer in machine.observers:
        machine.unobserve(observer)
    machine.counters.reset()
    return machine


def on_device(machine: Machine, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor on the machine's first device."""
    made: torch.Tensor = torch.Tensor._make_subclass(
        machine.classes[0], tensor.detach(), tensor.requires_grad
    )
    return made
