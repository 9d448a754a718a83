"""``torch.compile`` is refused: what a vendor's compiler makes of a model cannot be simulated."""

from __future__ import annotations

from typing import Any, NoReturn

import torch

from porter.device.sim.core.machine import machines
from porter.interception.patching import Patches


def _refuse(*_: Any, **__: Any) -> NoReturn:
    labels = ", ".join(f"sim:{name}" for name in machines)
    raise RuntimeError(
        f"torch.compile is not simulated: {labels} runs eager code only; run the model without "
        "torch.compile, or on a real device"
    )


def install_compile(patches: Patches) -> None:
    """Refuse ``torch.compile`` and ``Module.compile`` while a device is simulated."""
    patches.replace(torch, "compile", _refuse)
    patches.replace(torch.nn.Module, "compile", _refuse)
