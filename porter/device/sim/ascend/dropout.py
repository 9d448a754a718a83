"""Dropout, slices and one optimizer's step in ``torch_npu``.

Schemas: ``op_plugin/config/op_plugin_functions.yaml`` of Ascend/op-plugin (517f2e7d, August 2026);
formulas: its ``codegen/templates/_op_plugin_docs.py`` and ``test/test_base_ops``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from porter.device.sim.vendors.fused_ops import fused, kernel, wide
from porter.errors import BadInput


@fused("npu", "npu_dropout_with_add_softmax_core")
def _add_softmax(
    self: Tensor, x1: Tensor, keep_mask: Tensor, alpha: float, prob: float, dim: int
) -> tuple[Tensor, Tensor]:
    weights = (wide(x1) + wide(self) * alpha).softmax(dim)
    kept = weights * keep_mask / (1.0 - prob) if prob < 1.0 else torch.zeros_like(weights)
    return weights.to(self.dtype), kept.to(self.dtype)


def npu_dropout_with_add_softmax(
    self: Tensor, x1: Tensor, alpha: float, prob: float, dim: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dropout's mask, ``softmax(x1 + self * alpha)``, and that with dropout of ``prob``.

    The vendor's page says that kept elements are multiplied by ``1 / prob``; its test drops with
    probability ``prob``, as ``torch.nn.Dropout``. The mask has one byte per element here.
    """
    keep = torch.empty_like(self, dtype=torch.float32).bernoulli_(1.0 - prob)
    weights, kept = _add_softmax(self, x1, keep, float(alpha), float(prob), dim)
    return keep.to(torch.uint8), weights, kept


def npu_dropout_gen_mask(
    size: list[int],
    p: float,
    *,
    dtype: torch.dtype | None = None,
    layout: torch.layout | None = None,
    device: torch.device | str | None = None,
    pin_memory: bool | None = None,
) -> Tensor:
    """Return bits in bytes, 1 with probability ``1 - p``, for a multiple of 128 elements."""
    count = 1
    for each in size:
        count *= int(each)
    count = -(-count // 128) * 128
    bits = torch.empty(count, device=device or "npu").bernoulli_(1.0 - p)
    packed: Tensor = _packed_bits(bits)
    return packed


@kernel("npu::npu_dropout_packed_mask(Tensor bits) -> Tensor")
def _packed_bits(bits: Tensor) -> Tensor:
    weights = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.float32, device=bits.device)
    return (bits.view(-1, 8) * weights).sum(-1).to(torch.uint8)


@fused("npu")
def npu_dropout_do_mask(self: Tensor, mask: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Return the elements whose bit is 1, divided by ``1 - p``, and the mask."""
    places = torch.arange(8, dtype=torch.uint8, device=mask.device)
    bits = mask.unsqueeze(-1).bitwise_right_shift(places).bitwise_and(1).flatten()
    kept = bits[: self.numel()].view(self.shape)
    made = wide(self) * kept / (1.0 - p) if p < 1.0 else torch.zeros_like(wide(self))
    return made.to(self.dtype), mask


def npu_indexing(
    self: Tensor,
    begin: list[int],
    end: list[int],
    strides: list[int],
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Tensor:
    """Return a strided slice; bits of the masks say how the place of each bit is read."""
    index: list[Any] = []
    for place, (first, last, step) in enumerate(zip(begin, end, strides, strict=True)):
        bit = 1 << place
        if ellipsis_mask & bit:
            index.append(Ellipsis)
        elif new_axis_mask & bit:
            index.append(None)
        elif shrink_axis_mask & bit:
            index.append(first)
        else:
            start = None if begin_mask & bit else first
            index.append(slice(start, None if end_mask & bit else last, step))
    return self[tuple(index)].clone()


_ADAM_W = (
    "Scalar beta1_power, Scalar beta2_power, Scalar lr, Scalar weight_decay, Scalar beta1, "
    "Scalar beta2, Scalar epsilon, Tensor grad, Tensor? max_grad_norm, bool? amsgrad, "
    "bool? maximize"
)


@kernel(f"npu::npu_apply_adam_w({_ADAM_W}) -> (Tensor, Tensor, Tensor)")
def _apply_adam_w_without_out(*_: object) -> None:
    raise BadInput("npu_apply_adam_w: out=(var, m, v) is missing; the operator updates them")


@kernel(
    f"npu::npu_apply_adam_w.out({_ADAM_W}, *, Tensor(a!) var, Tensor(b!) m, Tensor(c!) v) "
    "-> (Tensor(a!), Tensor(b!), Tensor(c!))"
)
def _apply_adam_w(
    beta1_power: float,
    beta2_power: float,
    lr: float,
    weight_decay: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    grad: Tensor,
    max_grad_norm: Tensor | None,
    amsgrad: bool | None,
    maximize: bool | None,
    *,
    var: Tensor,
    m: Tensor,
    v: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    if amsgrad:
        raise BadInput("npu_apply_adam_w: porter's operator has no amsgrad")
    slope = (-grad if maximize else grad).to(m.dtype)
    m.mul_(beta1).add_(slope, alpha=1 - beta1)
    v.mul_(beta2).addcmul_(slope, slope, value=1 - beta2)
    root = (v / (1 - beta2 * beta2_power)).sqrt() + epsilon
    var.mul_(1 - lr * weight_decay)
    var.sub_((m / (1 - beta1 * beta1_power) / root * lr).to(var.dtype))
    return var, m, v


def npu_apply_adam_w(
    beta1_power: float,
    beta2_power: float,
    lr: float,
    weight_decay: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    grad: Tensor,
    max_grad_norm: Tensor | None,
    amsgrad: bool | None,
    maximize: bool | None,
    *,
    out: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Take one step of AdamW on ``out``: the parameter and its two moments, in place.

    The powers are those of the steps before (1 at the first step), as in the vendor's test.
    """
    scalars = (beta1_power, beta2_power, lr, weight_decay, beta1, beta2, epsilon)
    if out is None:
        return torch.ops.npu.npu_apply_adam_w(  # type: ignore[no-any-return]  # raises
            *scalars, grad, max_grad_norm, amsgrad, maximize
        )
    var, m, v = out
    return torch.ops.npu.npu_apply_adam_w.out(  # type: ignore[no-any-return]
        beta1_power, beta2_power, lr, weight_decay, beta1, beta2, epsilon, grad, max_grad_norm,
        amsgrad, maximize, var=var, m=m, v=v,
    )  # fmt: skip
