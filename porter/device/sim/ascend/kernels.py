"""The fused kernels of ``torch_npu`` that diffusion and transformer ports call.

Each is one operator (see :mod:`porter.device.sim.vendors.fused_ops`). Half-precision inputs are
computed in float32 and rounded once, as these kernels' documentation states; but where torch has
the same operator, that one is called.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from porter.device.sim.vendors.fused_ops import fused, kernel, quarter_turn, rms_norm, wide
from porter.errors import BadInput


@fused("npu")
def npu_geglu(
    self: Tensor, dim: int = -1, approximate: int = 1, activate_left: bool = False
) -> tuple[Tensor, Tensor]:
    """``left * gelu(right)`` and ``gelu(right)``; approximate 1 is tanh, 0 is erf."""
    left, right = wide(self).chunk(2, dim)
    if activate_left:
        left, right = right, left
    gelu = F.gelu(right, approximate="tanh" if approximate == 1 else "none")
    return (left * gelu).to(self.dtype), gelu.to(self.dtype)


@fused("npu")
def npu_swiglu(self: Tensor, dim: int = -1) -> Tensor:
    """``silu(left) * right``."""
    left, right = wide(self).chunk(2, dim)
    return (F.silu(left) * right).to(self.dtype)


@fused("npu")
def npu_fast_gelu(self: Tensor) -> Tensor:
    """``x / (1 + exp(-1.702 x))`` (the formula of the A2 series)."""
    full = wide(self)
    return (full * torch.sigmoid(1.702 * full)).to(self.dtype)


fast_gelu = npu_fast_gelu


@fused("npu")
def npu_gelu_mul(input: Tensor, *, approximate: str = "none") -> Tensor:
    """``gelu(left) * right`` of the last dimension's halves."""
    left, right = wide(input).chunk(2, -1)
    return (F.gelu(left, approximate=approximate) * right).to(input.dtype)


@fused("npu")
def npu_mish(self: Tensor) -> Tensor:
    """``x * tanh(softplus(x))``."""
    return F.mish(wide(self)).to(self.dtype)


@fused("npu")
def npu_rms_norm(self: Tensor, gamma: Tensor, epsilon: float = 1e-06) -> tuple[Tensor, Tensor]:
    """RMS normalisation over gamma's dimensions: the result and the reciprocal RMS (float32)."""
    result, reciprocal = rms_norm(wide(self), wide(gamma), epsilon)
    return result.to(self.dtype), reciprocal


@kernel(
    "npu::npu_rms_norm_backward(Tensor dy, Tensor self, Tensor gamma, Tensor rstd) "
    "-> (Tensor, Tensor)"
)
def npu_rms_norm_backward(
    dy: Tensor, self: Tensor, gamma: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of input and gamma (float32) from the reciprocal RMS of the forward."""
    dims = list(range(-gamma.dim(), 0))
    normed = wide(self) * rstd
    slope = wide(dy) * wide(gamma)
    change = rstd * (slope - normed * (slope * normed).mean(dims, keepdim=True))
    rows = list(range(self.dim() - gamma.dim()))
    total = (wide(dy) * normed).sum(rows) if rows else wide(dy) * normed
    return change.to(self.dtype), total


@fused("npu")
def npu_add_rms_norm(
    x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float = 1e-06
) -> tuple[Tensor, Tensor, Tensor]:
    """RMS normalisation of ``x1 + x2``: the result, the reciprocal RMS, the sum."""
    total = x1 + x2
    result, reciprocal = rms_norm(wide(total), wide(gamma), epsilon)
    return result.to(x1.dtype), reciprocal, total


@fused("npu")
def npu_gemma_rms_norm(
    self: Tensor, gamma: Tensor, epsilon: float = 1e-06
) -> tuple[Tensor, Tensor]:
    """RMS normalisation with ``1 + gamma`` as the weight."""
    result, reciprocal = rms_norm(wide(self), 1.0 + wide(gamma), epsilon)
    return result.to(self.dtype), reciprocal


@fused("npu")
def npu_rotary_mul(
    self: Tensor, r1: Tensor, r2: Tensor, rotary_mode: str = "half", rotate: Tensor | None = None
) -> Tensor:
    """Rotary embedding ``r1 * x + r2 * rotated(x)``; mode "half" or "interleave", or a matrix."""
    if rotate is not None:
        turned = self @ rotate.to(self.dtype)
    elif rotary_mode in ("half", "interleave"):
        turned = quarter_turn(self, pairwise=rotary_mode == "interleave")
    else:
        raise ValueError(f"npu_rotary_mul: rotary_mode is {rotary_mode!r}, not half or interleave")
    return r1 * self + r2 * turned


@fused("npu")
def npu_scaled_masked_softmax(
    x: Tensor, mask: Tensor, scale: float = 1, fixed_triu_mask: bool = False
) -> Tensor:
    """Softmax of ``x * scale``, hiding the positions where the mask is True."""
    hidden = mask.bool()
    if fixed_triu_mask:
        hidden = torch.ones(x.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
    scores = (wide(x) * scale).masked_fill(hidden, -10000.0)
    return scores.softmax(-1).to(x.dtype)


@fused("npu")
def npu_group_norm_silu(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    group: int,
    eps: float = 1e-05,
) -> tuple[Tensor, Tensor, Tensor]:
    """SiLU of a group norm: the result, the means and the reciprocal deviations (batch, group)."""
    result, mean, reciprocal = _group_norm(input, weight, bias, group, eps)
    return F.silu(result).to(input.dtype), mean.to(input.dtype), reciprocal.to(input.dtype)


@fused("npu")
def npu_group_norm_swish(
    input: Tensor,
    num_groups: int,
    weight: Tensor,
    bias: Tensor,
    eps: float = 1e-05,
    swish_scale: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """``y * sigmoid(swish_scale * y)`` of a group norm, its means, reciprocal deviations."""
    result, mean, reciprocal = _group_norm(input, weight, bias, num_groups, eps)
    return (result * torch.sigmoid(swish_scale * result)).to(input.dtype), mean, reciprocal


def _group_norm(
    tensor: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    full = wide(tensor)
    grouped = full.reshape(full.shape[0], groups, -1)
    scale, shift = (None if t is None else wide(t) for t in (weight, bias))
    reciprocal = torch.rsqrt(grouped.var(-1, unbiased=False) + eps)
    return F.group_norm(full, groups, scale, shift, eps), grouped.mean(-1), reciprocal


@fused("npu")
def npu_confusion_transpose(
    self: Tensor, perm: list[int], shape: list[int], transpose_first: bool
) -> Tensor:
    """Transpose and reshape as one kernel, in the order of ``transpose_first``; contiguous."""
    if transpose_first:
        return self.permute(perm).contiguous().view(shape)
    return self.reshape(shape).permute(perm).contiguous()


@fused("npu")
def npu_layer_norm_eval(
    input: Tensor,
    normalized_shape: list[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-05,
) -> Tensor:
    """Layer norm for inference."""
    return F.layer_norm(input, normalized_shape, weight, bias, eps)


@fused("npu")
def npu_softmax_cross_entropy_with_logits(self: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of each row against a row of probabilities."""
    return -(labels * self.log_softmax(-1)).sum(-1)


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
    result = _ffn(x, weight1, weight2, activation, bias1, bias2)
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
    return _transpose_batchmatmul(
        input, weight, bias, perm_x1 or straight, perm_x2 or straight, perm_y or straight
    )


def npu_scatter_nd_update(self: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """A copy with the slices at ``indices`` replaced by ``updates``."""
    return npu_scatter_nd_update_(self.clone(), indices, updates)


def npu_scatter_nd_update_(self: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """In place: the slices at ``indices`` are replaced by ``updates``."""
    return self.index_put_(tuple(indices.to(torch.int64).unbind(-1)), updates)


def npu_gather_sparse_index(input: Tensor, index: Tensor) -> Tensor:
    """Rows of ``input`` at ``index``, in the shape of ``index``."""
    return input[index.to(torch.int64)]
