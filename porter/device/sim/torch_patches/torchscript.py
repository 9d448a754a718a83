"""Count TorchScript and ONNX on a device whose vendor does not support them.

docs.habana.ai, PyTorch Support Matrix (read November 2026): "torch.jit / TorchScript" and "ONNX"
are "No" in both modes. What a card does with such a call is not documented, so it runs, counted,
with a warning for each line of user code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from porter.device.sim.core.machine import Machine
from porter.device.sim.core.tensor import tensors_in
from porter.interception.patching import Patches
from porter.interception.source_lines import Site, warn_once

_CALLED = (torch._C.ScriptFunction, torch._C.ScriptMethod)


def _count(machine: Machine, warned: set[Site], kind: str, what: str, name: str) -> None:
    event = machine.counters.event(kind, what)
    where = f"{machine.profile.title}'s PyTorch Support Matrix"
    warn_once(warned, event.site, f"{event.site}: {name} is not supported, says {where}")


def install_torchscript(machine: Machine, patches: Patches) -> None:
    """Count calls of scripted and traced functions with a tensor on one of these devices."""
    warned: set[Site] = set()

    def counting(native: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            operands = tensors_in((*args, *kwargs.values()))
            if any(machine.holds(tensor) for tensor in operands):
                what = f"TorchScript {self.name}"
                _count(machine, warned, "torchscript", what, "torch.jit / TorchScript")
            return native(self, *args, **kwargs)

        return call

    for cls in _CALLED:
        patches.replace(cls, "__call__", counting(cls.__call__))


def install_onnx(machine: Machine, patches: Patches) -> None:
    """Count exports to ONNX of a module, or with arguments, on one of these devices."""
    warned: set[Site] = set()
    native = torch.onnx.export

    @functools.wraps(native)
    def export(model: Any, *args: Any, **kwargs: Any) -> Any:
        held = list(tensors_in((*args, *kwargs.values())))
        held += model.parameters() if isinstance(model, torch.nn.Module) else []
        if any(machine.holds(tensor) for tensor in held):
            _count(machine, warned, "onnx", f"torch.onnx.export {type(model).__name__}", "ONNX")
        return native(model, *args, **kwargs)

    patches.replace(torch.onnx, "export", export)
