"""Larger fused kernels of ``torch_npu``: feed-forward, losses, permuted products, scatters."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from porter.device.sim.vendors.fused_ops import fused, rms_norm, wide
from porter.errors import BadInput

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "fastgelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
}
_GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "geglu": F.gelu, "swiglu": F.silu, "reglu": F.relu,
}  # fmt: skip


@fused("npu", "npu_ffn_core")
def _ffn(
    x: Tensor,
    weight1: Tensor,
    weight2: Tensor,
    activation: str,
    bias1: Tensor | None,
    bias2: Tensor | None,
) -> Tensor:
    inner = wide(x) @ wide(weight1)
    if bias1 is not None:
        inner = inner + wide(bias1)
    if activation in _GATES:
        left, right = inner.chunk(2, -1)
        inner = _GATES[activation](left) * right
    else:
        inner = _ACTIVATIONS[activation](inner)
    result = inner @ wide(weight2)
    if bias2 is not None:
        result = result + wide(bias2)
    return result.to(x.dtype)


def npu_ffn(
    x: Tensor,
    weight1: Tensor,
    weight2: Tensor,
    activation: str,
    *,
    expert_tokens: list[int] | None = None,
    expert_tokens_index: list[int] | None = None,
    bias1: Tensor | None = None,
    bias2: Tensor | None = None,
    scale: Tensor | None = None,
    offset: Tensor | None = None,
    deq_scale1: Tensor | None = None,
    deq_scale2: Tensor | None = None,
    antiquant_scale1: Tensor | None = None,
    antiquant_scale2: Tensor | None = None,
    antiquant_offset1: Tensor | None = None,
    antiquant_offset2: Tensor | None = None,
    inner_precise: int | None = None,
    output_dtype: torch.dtype | None = None,
) -> Tensor:
    """``activation(x W1 + b1) W2 + b2``, without experts and without quantisation."""
    refused = (
        expert_tokens, expert_tokens_index, scale, offset, deq_scale1, deq_scale2,
        antiquant_scale1, antiquant_scale2, antiquant_offset1, antiquant_offset2,
    )  # fmt: skip
    if any(value is not None for value in refused):
        raise BadInput(
            "npu_ffn: porter's simulated module computes it without experts and quantisation"
        )
    known = (*_ACTIVATIONS, *_GATES)
    if activation not in known:
        raise BadInput(f"npu_ffn: activation is {activation!r}, expected one of {', '.join(known)}")
    del inner_precise
    result: Tensor = _ffn(x, weight1, weight2, activation, bias1, bias2)
    return result if output_dtype is None else result.to(output_dtype)


@fused("npu")
def npu_cross_entropy_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    lse_square_scale_for_zloss: float = 0.0,
    return_zloss: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cross entropy: the loss (one element unless reduction is "none"), the log probabilities, and
    two empty tensors for the z-loss, which the vendor does not support either."""
    if lse_square_scale_for_zloss or return_zloss:
        raise BadInput("npu_cross_entropy_loss: the z-loss is not supported by the operator")
    full = wide(input)
    scale = None if weight is None else wide(weight)
    loss = F.cross_entropy(
        full, target, scale, reduction=reduction, ignore_index=ignore_index,
        label_smoothing=label_smoothing,
    )  # fmt: skip
    empty = input.new_empty(0)
    shaped = loss if reduction == "none" else loss.reshape(1)
    return shaped.to(input.dtype), full.log_softmax(-1).to(input.dtype), empty, empty.clone()


@fused("npu")
def npu_add_rms_norm_cast(
    x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float = 1e-06
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """RMS normalisation of ``x1 + x2``: in float32, in the input's dtype, reciprocal RMS, sum."""
    total = x1 + x2
    result, reciprocal = rms_norm(wide(total), wide(gamma), epsilon)
    rounded = result.to(x1.dtype)
    return rounded.float(), rounded, reciprocal, total


@fused("npu", "npu_transpose_batchmatmul_core")
def _transpose_batchmatmul(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    perm_x1: list[int],
    perm_x2: list[int],
    perm_y: list[int],
) -> Tensor:
    result = wide(input).permute(perm_x1) @ wide(weight).permute(perm_x2)
    if bias is not None:
        result = result + wide(bias)
    return result.to(input.dtype).permute(perm_y).contiguous()


def npu_transpose_batchmatmul(
    input: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    scale: Tensor | None = None,
    perm_x1: list[int] | None = None,
    perm_x2: list[int] | None = None,
    perm_y: list[int] | None = None,
    batch_split_factor: int = 1,
) -> Tensor:
    """A batched product with permuted operands and result."""
    if scale is not None or batch_split_factor != 1:
        raise BadInput(
            "npu_transpose_batchmatmul: porter's simulated module computes it without scale and "
            "batch_split_factor"
        )
    straight = [0, 1, 2]
    result: Tensor = _transpose_batchmatmul(
        input, weight, bias, perm_x1 or straight, perm_x2 or straight, perm_y or straight
    )
    return result


def npu_scatter_nd_update(self: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """A copy with the slices at ``indices`` replaced by ``updates``."""
    return npu_scatter_nd_update_(self.clone(), indices, updates)


def npu_scatter_nd_update_(self: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """In place: the slices at ``indices`` are replaced by ``updates``."""
    return self.index_put_(tuple(indices.to(torch.int64).unbind(-1)), updates)


def npu_gather_sparse_index(input: Tensor, index: Tensor) -> Tensor:
    """Rows of ``input`` at ``index``, in the shape of ``index``."""
    return input[index.to(torch.int64)]
