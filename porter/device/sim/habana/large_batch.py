"""``hpex.optimizers`` for large batches (LAMB, LARS) and ``hpex.movingavrg.FusedEMA``.

Formulas: the Python side of HabanaAI/gaudi-pytorch-bridge 1.19.0
(``habana_frameworks/torch/hpex``) and the references of its tests
(``tests/pytest_working/lazy/test_hpu_custom_lamb_optimizer.py``, ``lazy/fused_ops/lars/Lars.py``,
``any_mode/test_ema.py``). No value is read on the host.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from porter.device.sim.habana.core import mark_step
from porter.device.sim.vendors.fused_optimizers import FusedOptimizer, Params


class FusedLamb(FusedOptimizer):
    """LAMB (You et al., 2020), with the gradients clipped by their total norm first.

    ``use_lamb`` scales the step by the trust ratio also without weight decay. ``fused``,
    ``adam_w_mode`` and ``dtype`` select the card's kernel.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        adam_w_mode: bool = True,
        grad_averaging: bool = True,
        set_grad_none: bool = True,
        max_grad_norm: float | None = 1.0,
        use_lamb: bool = False,
        fused: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        if amsgrad:
            raise RuntimeError("FusedLamb does not support the AMSGrad variant.")
        super().__init__(
            params,
            {
                "lr": lr, "bias_correction": bias_correction, "betas": betas, "eps": eps,
                "weight_decay": weight_decay, "grad_averaging": grad_averaging,
                "max_grad_norm": max_grad_norm,
            },
        )  # fmt: skip
        self.set_grad_none = set_grad_none
        self.use_lamb = use_lamb

    def zero_grad(self, set_to_none: bool | None = None) -> None:
        """Drop the gradients, or make them zero with ``set_grad_none=False``."""
        super().zero_grad(self.set_grad_none if set_to_none is None else set_to_none)

    def _update(self) -> None:
        grads = [
            p.grad for group in self.param_groups for p in group["params"] if p.grad is not None
        ]
        if not grads:
            return
        largest = self.defaults["max_grad_norm"]
        clip = grads[0].new_ones(())
        if largest is not None:
            norms = torch.stack([norm.float() for norm in torch._foreach_norm(grads)])
            clip = (norms.norm() / largest).clamp(min=1.0)
        for group in self.param_groups:
            self._step_group(group, [p for p in group["params"] if p.grad is not None], clip)
        mark_step()

    def _step_group(self, group: dict[str, Any], params: list[Tensor], clip: Tensor) -> None:
        group["step"] = step = int(group.get("step", 0)) + 1
        if not params:
            return
        beta1, beta2 = group["betas"]
        corrections = (1 - beta1**step, 1 - beta2**step) if group["bias_correction"] else (1.0, 1.0)
        values = torch.tensor([*corrections, -group["lr"]])
        first, second, negative = values.to(params[0].device, non_blocking=True).unbind()
        share = 1 - beta1 if group["grad_averaging"] else 1.0
        for param in params:
            assert param.grad is not None
            grad = param.grad / clip.to(param.dtype)
            state = self.state[param]
            mean = state.setdefault("exp_avg", torch.zeros_like(param))
            square = state.setdefault("exp_avg_sq", torch.zeros_like(param))
            mean.mul_(beta1).add_(grad, alpha=share)
            square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            update = (mean / first) / ((square / second).sqrt() + group["eps"])
            if group["weight_decay"]:
                update = update + param * group["weight_decay"]
            if group["weight_decay"] or self.use_lamb:
                update = update * _trust(param.norm(), update.norm())
            param.add_((update * negative).to(param.dtype))


def _trust(weight: Tensor, update: Tensor) -> Tensor:
    """Return the ratio of two norms, or 1 where one of them is 0."""
    return torch.where((weight > 0) & (update > 0), weight / update, torch.ones_like(weight))


class FusedLars(Optimizer):
    """LARS (You et al., 2017) around another optimizer, whose gradients it scales.

    ``skip_mask`` has a 1 for each parameter, in the order of its group, that is scaled by its own
    trust ratio and decayed; the gradients of the others are multiplied by the learning rate alone.
    The optimizer inside gets gradients that hold the learning rate already, and no weight decay.
    """

    def __init__(
        self, optimizer: Optimizer, skip_mask: Sequence[int], eeta: float = 0.001, eps: float = 1e-8
    ) -> None:
        self.optim = optimizer
        self.skip_mask, self.eeta, self.eps = skip_mask, eeta, eps
        defaults = optimizer.defaults
        defaults.update(skip_mask=skip_mask, eeta=eeta, eps=eps)
        super().__init__(optimizer.param_groups, defaults)
        self.state = self.optim.__getstate__()["state"]

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Make the gradients zero."""
        self.optim.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Scale the gradients in place and step the optimizer inside."""
        decays = []
        for group in self.optim.param_groups:
            decays.append(group.get("weight_decay", 0))
            group["weight_decay"] = 0
            rate = None
            for scaled, param in zip(self.skip_mask, group["params"], strict=False):
                if param.grad is None:
                    continue
                if rate is None:
                    rate = torch.tensor(group["lr"]).to(param.device, non_blocking=True)
                self._scale(param, rate, decays[-1], adapt=bool(scaled))
        mark_step()
        self.optim.step()
        for group, decay in zip(self.optim.param_groups, decays, strict=True):
            group["weight_decay"] = decay

    def _scale(self, param: Tensor, rate: Tensor, decay: float, *, adapt: bool) -> None:
        grad = param.grad
        assert grad is not None
        if adapt:
            weight, slope = param.norm(), grad.norm()
            ratio = self.eeta * weight / (slope + decay * weight + self.eps)
            ones = torch.ones_like(weight)
            rate = rate * torch.where((weight > 0) & (slope > 0), ratio, ones)
            grad.add_(param, alpha=decay)
        grad.mul_(rate.to(grad.dtype))


class FusedResourceApplyMomentum(FusedOptimizer):
    """Momentum whose gradients hold the learning rate already: ``buf = momentum * buf - grad``.

    The first step sets the buffer to the gradient and *adds* it, as the vendor's source does.
    """

    def __init__(
        self,
        params: Params,
        lr: float,
        momentum: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        for name, value in (
            ("learning rate", lr), ("momentum value", momentum),
            ("weight_decay value", weight_decay),
        ):  # fmt: skip
            if value < 0.0:
                raise ValueError(f"Invalid {name}: {value}")
        if nesterov and momentum <= 0:
            raise ValueError("Nesterov momentum requires a momentum")
        super().__init__(
            params,
            {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov},
        )

    def _update(self) -> None:
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                state, change = self.state[param], param.grad
                if "momentum_buffer" in state:
                    change = state["momentum_buffer"].mul_(group["momentum"]).sub_(param.grad)
                elif group["momentum"]:
                    change = state["momentum_buffer"] = param.grad.clone()
                param.add_(change)
        mark_step()


class FusedEMA:
    """A moving average of a model's state, with a decay that grows: ``d (1 - exp(-n / 2000))``."""

    def __init__(self, model: nn.Module, decay: float = 0.9999, updates: float = 0) -> None:
        if decay < 0.0:
            raise ValueError(f"Invalid decay value: {decay}")
        inner = getattr(model, "module", model) if _is_parallel(model) else model
        self.ema: nn.Module = copy.deepcopy(inner).eval()
        self.decay: Callable[[float], float] = lambda count: decay * (1 - math.exp(-count / 2000))
        self.updates = updates
        self.updated_ema = list(self.ema.state_dict().values())

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model; the two have the same entries in the same order."""
        mark_step()
        self.updates += 1
        inputs = list(model.state_dict().values())
        decay = torch.tensor([self.decay(self.updates)]).to(inputs[0].device, non_blocking=True)
        for average, value in zip(self.updated_ema, inputs, strict=True):
            if average.is_floating_point():
                average.copy_(average * decay + value * (1.0 - decay))
        mark_step()

    def update_attr(
        self,
        model: nn.Module,
        include: Iterable[str] = (),
        exclude: Iterable[str] = ("process_group", "reducer"),
    ) -> None:
        """Copy public attributes of the model: those of ``include``, or all but ``exclude``."""
        chosen, refused = set(include), set(exclude)
        for name, value in vars(model).items():
            if name.startswith("_") or name in refused or (chosen and name not in chosen):
                continue
            setattr(self.ema, name, value)


def _is_parallel(model: nn.Module) -> bool:
    return type(model) in (nn.DataParallel, nn.parallel.DistributedDataParallel)
