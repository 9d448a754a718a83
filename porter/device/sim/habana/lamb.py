"""The operators that LAMB is made of on Gaudi, and its softmax by approximation.

Schemas: HabanaAI/gaudi-pytorch-bridge 1.19.0, ``habana_eager/eager_custom_op_register.cpp``;
formulas: the references of its ``test_hpu_custom_lamb_optimizer.py`` and
``test_custom_softmax.py``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from porter.device.sim.vendors.fused_ops import kernel


@kernel("hpu::optimizer_lamb_fused_norm(Tensor[] grad, float max_norm) -> Tensor")
def optimizer_lamb_fused_norm(grad: list[Tensor], max_norm: float) -> Tensor:
    """Return what to divide gradients by: their total norm over ``max_norm``, at least 1; (1,)."""
    norms = torch.stack([each.float().norm() for each in grad])
    clip: Tensor = (norms.norm() / max_norm).clamp(min=1.0).reshape(1)
    return clip.to(grad[0].dtype)


@kernel(
    "hpu::optimizer_lamb_phase1(Tensor[] gradients, Tensor[] weights, Tensor(a!)[] exp_avg, "
    "Tensor(b!)[] exp_avg_sq, Tensor(c!)[] out_weight_norms, Tensor(d!)[] out_adam_norms, "
    "Tensor(e!)[] out_adam_steps, Tensor clip_global_grad_norm, int grad_averaging, float beta1, "
    "float beta2, float epsilon, Tensor bias_correction1, Tensor bias_correction2, "
    "float weight_decay) -> ()"
)
def optimizer_lamb_phase1(
    gradients: list[Tensor],
    weights: list[Tensor],
    exp_avg: list[Tensor],
    exp_avg_sq: list[Tensor],
    out_weight_norms: list[Tensor],
    out_adam_norms: list[Tensor],
    out_adam_steps: list[Tensor],
    clip_global_grad_norm: Tensor,
    grad_averaging: int,
    beta1: float,
    beta2: float,
    epsilon: float,
    bias_correction1: Tensor,
    bias_correction2: Tensor,
    weight_decay: float,
) -> None:
    """Update both moments, and write Adam's steps, their norms and those of the weights."""
    share = 1.0 - beta1 if grad_averaging else 1.0
    for at, (gradient, weight) in enumerate(zip(gradients, weights, strict=True)):
        grad = gradient / clip_global_grad_norm.to(gradient.dtype)
        exp_avg[at].mul_(beta1).add_(grad, alpha=share)
        exp_avg_sq[at].mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
        root = (exp_avg_sq[at] / bias_correction2).sqrt() + epsilon
        step = exp_avg[at] / bias_correction1 / root + weight * weight_decay
        out_adam_steps[at].copy_(step)
        out_adam_norms[at].copy_(step.norm().reshape(out_adam_norms[at].shape))
        out_weight_norms[at].copy_(weight.norm().reshape(out_weight_norms[at].shape))


@kernel(
    "hpu::optimizer_lamb_phase2(Tensor(a!)[] weights, Tensor[] adam_norms, Tensor[] weight_norms, "
    "Tensor[] adam_steps, Tensor neg_step, float wd, bool use_lamb) -> ()"
)
def optimizer_lamb_phase2(
    weights: list[Tensor],
    adam_norms: list[Tensor],
    weight_norms: list[Tensor],
    adam_steps: list[Tensor],
    neg_step: Tensor,
    wd: float,
    use_lamb: bool,
) -> None:
    """Add Adam's steps times ``neg_step`` and the trust ratio, where there is one."""
    for weight, slope, size, step in zip(
        weights, adam_norms, weight_norms, adam_steps, strict=True
    ):
        ratio = torch.ones_like(size)
        if wd or use_lamb:
            ratio = torch.where((slope > 0) & (size > 0), size / slope, ratio)
        weight.add_((step * neg_step * ratio).to(weight.dtype))


@kernel("hpu::custom_softmax(Tensor input, int flavor) -> Tensor")
def custom_softmax(input: Tensor, flavor: int) -> Tensor:
    """Return the softmax of the last dimension; ``flavor`` selects the card's approximation."""
    return input.float().softmax(-1).to(input.dtype)


class CustomSoftmax(torch.autograd.Function):
    """``custom_softmax`` with its gradient."""

    @staticmethod
    def forward(ctx: Any, inp: Tensor, flavor: int) -> Tensor:
        """Return the softmax of the last dimension."""
        result: Tensor = torch.ops.hpu.custom_softmax(inp, flavor)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Return the gradient of the softmax."""
        (result,) = ctx.saved_tensors
        return torch._softmax_backward_data(grads[0], result, -1, result.dtype), None
