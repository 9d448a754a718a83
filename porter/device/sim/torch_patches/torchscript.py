"""Count calls of TorchScript functions on a device whose vendor does not support TorchScript.

docs.habana.ai, PyTorch Support Matrix (read November 2026): "torch.jit / TorchScript" is "No" in
both modes. What a card does with such a call is not documented, so it runs, counted, with a warning
for each line of user code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from porter.device.sim.core.machine import Machine
from porter.device.sim.core.tensor import tensors_in
from porter.interception.patching import Patches
from porter.interception.source_lines import Site, warn_once

_CALLED = (torch._C.ScriptFunction, torch._C.ScriptMethod)


def install_torchscript(machine: Machine, patches: Patches) -> None:
    """Count calls of scripted and traced functions with a tensor on one of these devices."""
    warned: set[Site] = set()

    def counting(native: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            operands = tensors_in((*args, *kwargs.values()))
            if any(machine.holds(tensor) for tensor in operands):
                event = machine.counters.event("torchscript", f"TorchScript {self.name}")
                text = "torch.jit / TorchScript is not supported"
                where = f"{machine.profile.title}'s PyTorch Support Matrix"
                warn_once(warned, event.site, f"{event.site}: {text}, says {where}")
            return native(self, *args, **kwargs)

        return call

    for cls in _CALLED:
        patches.replace(cls, "__call__", counting(cls.__call__))
