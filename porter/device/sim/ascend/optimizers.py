"""``torch_npu.optim``: optimizers over combined buffers, and the fused clipping of their gradients.

As documented, the first step (or clip) moves all parameters and gradients of a dtype into one
buffer, of which ``p.data`` and ``p.grad`` become views, so that a step is a fixed number of kernels
for any number of parameters. The consequences for a port are simulated: parameters must be float32
or float16, and ``zero_grad(set_to_none=True)`` is refused. A third gives a warning here and none on
the card: after gradients were dropped elsewhere (``model.zero_grad()`` drops them by default) the
buffers no longer get what backward computes.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from porter.device.sim.vendors.fused_optimizers import FusedOptimizer, Params, sgd_options

_DTYPES = (torch.float32, torch.float16)


def _combine(tensors: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return a buffer holding all tensors, and each tensor's view of it with its strides."""
    buffer = tensors[0].new_empty(sum(t.numel() for t in tensors))
    views, offset = [], 0
    for tensor in tensors:
        if _is_dense(tensor) and tensor.numel() > 1:
            view = buffer.as_strided(tensor.shape, tensor.stride(), offset)
        else:
            view = buffer.narrow(0, offset, tensor.numel()).view(tensor.shape)
        view.copy_(tensor)
        views.append(view)
        offset += tensor.numel()
    return buffer, views


def _is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill memory without gaps or overlaps, in any order of dimensions."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride != expected:
                return False
            expected *= size
    return True


class _Combined:
    """One group's parameters of one dtype, with their buffers."""

    def __init__(self, params: list[Tensor]) -> None:
        self.params = params
        gradients = [p.grad for p in params if p.grad is not None]
        self.values, views = _combine([p.detach() for p in params])
        self.grads, self.grad_views = _combine([g.detach() for g in gradients])
        for param, value, gradient in zip(params, views, self.grad_views, strict=True):
            param.data = value
            param.grad = gradient
        self.state: dict[str, Tensor] = {}

    def check(self) -> None:
        """Warn when a parameter's gradient is no longer the view that this optimizer reads."""
        for param, view in zip(self.params, self.grad_views, strict=True):
            if param.grad is not view:
                warnings.warn(
                    "a gradient was replaced after the fused optimizer combined them (by "
                    "model.zero_grad()?); it steps on the combined buffer, not on the new "
                    "gradient. Use optimizer.zero_grad().",
                    stacklevel=5,
                )
                return


class NpuFusedOptimizerBase(FusedOptimizer):
    """Combines, clips and zeroes; a subclass defines the step on one buffer."""

    name = "fused optimizer"

    def __init__(self, params: Params, default: dict[str, Any]) -> None:
        super().__init__(params, default)
        self.is_fused_optimizer = True
        self.is_params_grads_combined = False
        self._combined: list[tuple[dict[str, Any], _Combined]] = []

    def _combine_all(self) -> None:
        if self.is_params_grads_combined:
            return
        for group in self.param_groups:
            by_dtype: dict[torch.dtype, list[Tensor]] = {}
            for param in group["params"]:
                if param.grad is None:
                    continue
                if param.grad.is_sparse:
                    raise RuntimeError(f"{self.name} does not support sparse gradients")
                if param.dtype not in _DTYPES:
                    raise TypeError(
                        f"{self.name}: parameters must be float32 or float16, found {param.dtype}"
                    )
                by_dtype.setdefault(param.dtype, []).append(param)
            self._combined += [(group, _Combined(params)) for params in by_dtype.values()]
        self.is_params_grads_combined = bool(self._combined)

    def get_combined_params(self) -> list[Tensor]:
        """The parameter buffers."""
        return [combined.values for _, combined in self._combined]

    def get_combined_grads(self) -> list[Tensor]:
        """The gradient buffers."""
        return [combined.grads for _, combined in self._combined]

    def _update(self) -> None:
        self._combine_all()
        for group, combined in self._combined:
            combined.check()
            self._count_step(combined)
            self._step_buffer(group, combined)

    @torch.no_grad()
    def zero_grad(self, set_to_none: bool = False) -> None:
        """Zero the gradient buffers; combined gradients cannot be dropped."""
        if set_to_none:
            raise ValueError(f"{self.name}: set_to_none is not supported by fused optimizers")
        self._combine_all()
        if not self.is_params_grads_combined:
            super().zero_grad(set_to_none=False)
        for _, combined in self._combined:
            combined.grads.zero_()

    @torch.no_grad()
    def clip_grad_norm_fused_(self, max_norm: float, norm_type: float = 2) -> Tensor:
        """Clip all gradients to a total norm, computed in float32; returns the norm before.

        Reads the clipping coefficient on the host, as the vendor's does.
        """
        self._combine_all()
        grads = self.get_combined_grads()
        if not grads:
            return torch.tensor(0.0)
        norm_type = float(norm_type)
        if norm_type == math.inf:
            total = torch.stack([g.float().abs().max() for g in grads]).max()
        else:
            powers = [g.float().abs().pow(norm_type).sum() for g in grads]
            total = torch.stack(powers).sum().pow(1.0 / norm_type)
        coefficient = float(max_norm) / (total + 1e-6)
        if coefficient < 1:
            for gradient in grads:
                gradient.mul_(coefficient)
        return total

    def _buffer_state(self, combined: _Combined, name: str) -> Tensor:
        """Return a state buffer, initialised from the parameters' own states if they have any."""
        found = combined.state.get(name)
        if found is None:
            found = torch.zeros_like(combined.values)
            combined.state[name] = found
            offset = 0
            for param in combined.params:
                view = found.as_strided(param.shape, param.stride(), offset)
                earlier = self.state[param].get(name)
                if isinstance(earlier, Tensor):
                    view.copy_(earlier)
                self.state[param][name] = view
                offset += param.numel()
        return found

    def _count_step(self, combined: _Combined) -> None:
        for param in combined.params:
            state = self.state[param]
            state["step"] = int(state.get("step", 0)) + 1

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; the next step rebuilds the buffers from it."""
        super().load_state_dict(state_dict)
        for _, combined in self._combined:
            combined.state.clear()

    def _step_buffer(self, group: dict[str, Any], combined: _Combined) -> None:
        raise NotImplementedError(f"{self.name} has no step")


def _check(lr: float, eps: float, betas: tuple[float, float], weight_decay: float) -> None:
    for title, value in (
        ("learning rate", lr),
        ("epsilon value", eps),
        ("weight_decay", weight_decay),
    ):
        if value < 0.0:
            raise ValueError(f"Invalid {title}: {value}")
    for at, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {at}: {beta}")


class NpuFusedAdamW(NpuFusedOptimizerBase):
    """AdamW (Loshchilov and Hutter, 2019) over combined buffers."""

    name = "NpuFusedAdamW"
    decoupled = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        _check(lr, eps, betas, weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
            },
        )

    def _step_buffer(self, group: dict[str, Any], combined: _Combined) -> None:
        beta1, beta2 = group["betas"]
        step = self.state[combined.params[0]]["step"]
        values, grads = combined.values, combined.grads
        if group["weight_decay"]:
            if self.decoupled:
                values.mul_(1 - group["lr"] * group["weight_decay"])
            else:
                grads = grads.add(values, alpha=group["weight_decay"])
        mean = self._buffer_state(combined, "exp_avg")
        square = self._buffer_state(combined, "exp_avg_sq")
        mean.mul_(beta1).add_(grads, alpha=1 - beta1)
        square.mul_(beta2).addcmul_(grads, grads, value=1 - beta2)
        if group["amsgrad"]:
            largest = self._buffer_state(combined, "max_exp_avg_sq")
            torch.maximum(largest, square, out=largest)
            square = largest
        root = (square.sqrt() / math.sqrt(1 - beta2**step)).add_(group["eps"])
        values.addcdiv_(mean, root, value=-group["lr"] / (1 - beta1**step))


class NpuFusedAdam(NpuFusedAdamW):
    """Adam (Kingma and Ba, 2015) over combined buffers; weight decay is added to the gradient."""

    name = "NpuFusedAdam"
    decoupled = False

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)


_REQUIRED = float("nan")


class NpuFusedSGD(NpuFusedOptimizerBase):
    """SGD with momentum over combined buffers."""

    name = "NpuFusedSGD"

    def __init__(
        self,
        params: Params,
        lr: float = _REQUIRED,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        if math.isnan(lr):
            raise ValueError("NpuFusedSGD: the learning rate must be given")
        super().__init__(params, sgd_options(lr, momentum, dampening, weight_decay, nesterov))

    def _step_buffer(self, group: dict[str, Any], combined: _Combined) -> None:
        grads = combined.grads
        if group["weight_decay"]:
            grads = grads.add(combined.values, alpha=group["weight_decay"])
        if group["momentum"]:
            first = "momentum_buffer" not in combined.state
            fresh = "momentum_buffer" not in self.state[combined.params[0]]
            momentum = self._buffer_state(combined, "momentum_buffer")
            if first and fresh:
                momentum.copy_(grads)
            else:
                momentum.mul_(group["momentum"]).add_(grads, alpha=1 - group["dampening"])
            grads = grads.add(momentum, alpha=group["momentum"]) if group["nesterov"] else momentum
        combined.values.add_(grads, alpha=-group["lr"])
