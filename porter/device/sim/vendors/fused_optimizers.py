"""What the vendors' fused optimizers have in common: the closure's loss, and SGD's options.

The updates themselves differ on purpose: Gaudi steps on lists of tensors with ``_foreach``
operators and sends the step size to the device, Ascend steps on one buffer per dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

Params = Iterable[Tensor] | Iterable[dict[str, Any]]


class FusedOptimizer(Optimizer):
    """An optimizer whose subclass updates all groups at once."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns the closure's loss, if a closure is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._update()
        return loss

    def _update(self) -> None:
        raise NotImplementedError


def sgd_options(
    lr: float, momentum: float, dampening: float, weight_decay: float, nesterov: bool
) -> dict[str, Any]:
    """Return SGD's options by name. Raises ValueError where Nesterov momentum does not apply."""
    if nesterov and (momentum <= 0 or dampening != 0):
        raise ValueError("Nesterov momentum requires a momentum and zero dampening")
    return {
        "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
        "nesterov": nesterov,
    }  # fmt: skip
