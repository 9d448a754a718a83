"""``habana_frameworks.torch.hpex.optimizers``: fused optimizers.

They send what changes from step to step (the step size, the decay) to the device as a tensor, one
small copy, instead of fixing it in the graph; so a training step compiles once where
``torch.optim.AdamW`` compiles at every step (bias correction is a scalar there).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from porter.device.sim.habana.core import mark_step
from porter.device.sim.vendors.fused_optimizers import FusedOptimizer, Params, sgd_options


class _ForeachOptimizer(FusedOptimizer):
    """Gathers a group's tensors and steps on them all with ``_foreach`` operators."""

    def _update(self) -> None:
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._step_group(group, params, [p.grad for p in params])
        mark_step()  # the vendor's fused optimizers end the graph themselves

    def _step_group(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        raise NotImplementedError

    def _states(self, params: list[Tensor], name: str) -> list[Tensor]:
        for param in params:
            if name not in self.state[param]:
                self.state[param][name] = torch.zeros_like(
                    param, memory_format=torch.preserve_format
                )
        return [self.state[param][name] for param in params]


class FusedAdamW(_ForeachOptimizer):
    """AdamW (Loshchilov and Hutter, 2019).

    ``eps`` is added to the root of the second moment before its bias is corrected, and with
    ``bias_correction=False`` neither moment is corrected (BERT's form of Adam).
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        bias_correction: bool = True,
        moments_dtype: torch.dtype | tuple[torch.dtype, torch.dtype] | None = None,
    ) -> None:
        if lr < 0.0:
            raise ValueError(f"Invalid learning rate: {lr} - should be >= 0.0")
        if not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"Invalid beta parameters: {betas} - should be in [0.0, 1.0)")
        if eps < 0.0:
            raise ValueError(f"Invalid epsilon value: {eps} - should be >= 0.0")
        if moments_dtype not in (None, torch.float32, (torch.float32, torch.float32)):
            raise NotImplementedError(
                "FusedAdamW: porter's simulated module keeps its moments in the parameters' "
                f"dtype, found moments_dtype={moments_dtype}"
            )
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                "bias_correction": bias_correction,
            },
        )  # fmt: skip

    def _step_group(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        group["step"] = step = int(group.get("step", 0)) + 1
        size = group["lr"]
        if group["bias_correction"]:
            size *= math.sqrt(1.0 - beta2**step) / (1.0 - beta1**step)
        changing = torch.tensor([-size, 1.0 - group["lr"] * group["weight_decay"]])
        negative, keep = changing.to(params[0].device, non_blocking=True).unbind()
        means, squares = self._states(params, "exp_avg"), self._states(params, "exp_avg_sq")
        torch._foreach_mul_(means, beta1)
        torch._foreach_add_(means, grads, alpha=1.0 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1.0 - beta2)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, group["eps"])
        updates = torch._foreach_div(means, roots)
        torch._foreach_mul_(updates, negative)
        if group["weight_decay"]:
            torch._foreach_mul_(params, keep)
        torch._foreach_add_(params, updates)


class FusedSGD(_ForeachOptimizer):
    """SGD with momentum, as ``torch.optim.SGD``."""

    def __init__(
        self,
        params: Params,
        lr: float | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if lr is None:
            raise ValueError("FusedSGD: the learning rate must be given")
        super().__init__(params, sgd_options(lr, momentum, dampening, weight_decay, nesterov))

    def _step_group(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        negative = torch.tensor(-group["lr"]).to(params[0].device, non_blocking=True)
        if group["weight_decay"]:
            grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
        if group["momentum"]:
            first = "momentum_buffer" not in self.state[params[0]]
            buffers = self._states(params, "momentum_buffer")
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, grads, alpha=1.0 if first else 1.0 - group["dampening"])
            if group["nesterov"]:
                grads = list(torch._foreach_add(grads, buffers, alpha=group["momentum"]))
            else:
                grads = buffers
        torch._foreach_add_(params, list(torch._foreach_mul(grads, negative)))


class FusedAdagrad(_ForeachOptimizer):
    """Adagrad (Duchi and others, 2011), as ``torch.optim.Adagrad``."""

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(
            params,
            {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps,
             "initial_accumulator_value": initial_accumulator_value},
        )  # fmt: skip

    def _step_group(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        step = int(group.get("step", 0))
        group["step"] = step + 1
        size = torch.tensor(-group["lr"] / (1.0 + step * group["lr_decay"]))
        negative = size.to(params[0].device, non_blocking=True)
        if group["weight_decay"]:
            grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
        first = "sum" not in self.state[params[0]]
        sums = self._states(params, "sum")
        if first and group["initial_accumulator_value"]:
            torch._foreach_add_(sums, group["initial_accumulator_value"])
        torch._foreach_addcmul_(sums, grads, grads, 1.0)
        roots = torch._foreach_sqrt(sums)
        torch._foreach_add_(roots, group["eps"])
        updates = torch._foreach_div(grads, roots)
        torch._foreach_mul_(updates, negative)
        torch._foreach_add_(params, updates)
