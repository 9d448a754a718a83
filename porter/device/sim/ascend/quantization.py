"""Quantisation and products of quantised matrices in ``torch_npu``.

Schemas: ``op_plugin/config/op_plugin_functions.yaml`` of Ascend/op-plugin (517f2e7d, August 2026).
Formulas: its ``docs/zh/custom_APIs`` and the references in its ``test/test_custom_ops``. What
neither states (storage of blocks, weights in the card's own format) is refused.
"""

from __future__ import annotations

import torch
from torch import Tensor

from porter.device.sim.ascend.dtypes import (
    dtype_of,
    is_fp4,
    is_int4,
    packed_int4,
    unpacked_int4,
)
from porter.device.sim.vendors.fused_ops import kernel, rms_norm, wide
from porter.errors import BadInput

_INT4_LIMIT = 7.0


def rounded(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Round to the nearest value of a dtype, half to even, saturating."""
    if dtype.is_floating_point:
        limit = torch.finfo(dtype).max
        return values.clamp(-limit, limit).to(dtype)
    bounds = torch.iinfo(dtype)
    return values.round().clamp(bounds.min, bounds.max).to(dtype)


def _limit(dtype: torch.dtype) -> float:
    return float(torch.finfo(dtype).max if dtype.is_floating_point else torch.iinfo(dtype).max)


def _quantized(values: Tensor, number: int | None) -> Tensor:
    """Return scaled values in the dtype of a number; eight to an int32 for 4 bits."""
    if is_int4(number):
        return packed_int4(values.round().clamp(-8, 7))
    return rounded(values, dtype_of(number, torch.int8))


def _along(vector: Tensor, like: Tensor, axis: int) -> Tensor:
    """Reshape a vector to broadcast along ``axis`` of ``like``."""
    if vector.numel() == 1 or vector.dim() == like.dim():
        return vector
    shape = [1] * like.dim()
    shape[axis] = -1
    return vector.reshape(shape)


@kernel(
    "npu::npu_quantize(Tensor self, Tensor scales, Tensor? zero_points, int dtype, int axis=1, "
    "bool div_mode=True) -> Tensor"
)
def npu_quantize(
    self: Tensor,
    scales: Tensor,
    zero_points: Tensor | None,
    dtype: int,
    axis: int = 1,
    div_mode: bool = True,
) -> Tensor:
    """Return ``round(self / scales) + zero_points``, or ``self * scales`` without ``div_mode``."""
    axis = axis if -self.dim() <= axis < self.dim() else -1
    scale = _along(wide(scales), self, axis)
    scaled = wide(self) / scale if div_mode else wide(self) * scale
    if zero_points is not None:
        scaled = scaled.round() if div_mode else scaled
        scaled = scaled + _along(wide(zero_points), self, axis)
    return _quantized(scaled, dtype)


@kernel(
    "npu::npu_dynamic_quant(Tensor input, *, Tensor? smooth_scales=None, Tensor? group_index=None, "
    'int? dst_type=None, str quant_mode="pertoken", float dst_type_max=0.0) -> (Tensor, Tensor)'
)
def npu_dynamic_quant(
    input: Tensor,
    *,
    smooth_scales: Tensor | None = None,
    group_index: Tensor | None = None,
    dst_type: int | None = None,
    quant_mode: str = "pertoken",
    dst_type_max: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return ``round(x / scale)`` and ``scale = max |x| / limit`` (float32) of each row.

    ``quant_mode`` takes the maximum of each row ("pertoken"), of each column of the last two
    dimensions ("perchannel"), or of all ("pertensor"). ``group_index`` holds the ends of the groups
    of rows that share a row of ``smooth_scales``.
    """
    modes = {"pertoken": -1, "perchannel": -2, "pertensor": None}
    if quant_mode not in modes:
        raise BadInput(
            f"npu_dynamic_quant: quant_mode is {quant_mode!r}, expected one of {', '.join(modes)}"
        )
    values = wide(input)
    if smooth_scales is not None and group_index is not None:
        rows = torch.arange(values.flatten(0, -2).shape[0], device=input.device)
        group = (rows.unsqueeze(-1) >= group_index).sum(-1).clamp(max=smooth_scales.shape[0] - 1)
        values = values * wide(smooth_scales)[group].view_as(values)
    elif smooth_scales is not None:
        values = values * wide(smooth_scales)
    limit = dst_type_max or (
        _INT4_LIMIT if is_int4(dst_type) else _limit(dtype_of(dst_type, torch.int8))
    )
    axis = modes[quant_mode]
    largest = values.abs().amax() if axis is None else values.abs().amax(axis, keepdim=True)
    scale = (largest / limit).float()
    made = _quantized(values / scale.to(values.dtype), dst_type)
    return made, scale.reshape(1) if axis is None else scale.squeeze(axis)


@kernel(
    "npu::npu_trans_quant_param(Tensor scale, Tensor? offset=None, int? round_mode=0) -> Tensor"
)
def npu_trans_quant_param(
    scale: Tensor, offset: Tensor | None = None, round_mode: int | None = 0
) -> Tensor:
    """Return float32 scales in the 64 bits that the card's matrix unit takes.

    The low 32 bits are the scale with 13 bits of the fraction dropped (rounded with ``round_mode``
    1); bit 46 is set, and a rounded 9-bit offset stands from bit 37.
    """
    bits = scale.float().view(torch.int32).to(torch.int64) & 0xFFFFFFFF
    if round_mode:
        bits = bits + 0x1000
    packed = (bits & 0xFFFFE000) | (1 << 46)
    if offset is not None:
        shift = offset.float().round().clamp(-256, 255).to(torch.int64) & 0x1FF
        packed = packed | (shift << 37)
    return packed


def scale_and_offset(scale: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return float32 scales and offsets of what :func:`npu_trans_quant_param` made, or as given."""
    if scale.dtype != torch.int64:
        return wide(scale), None
    value = (scale & 0xFFFFFFFF).to(torch.int32).view(torch.float32)
    offset = (scale >> 37) & 0x1FF
    return value, torch.where(offset > 255, offset - 512, offset).float()


def operand(matrix: Tensor) -> Tensor:
    """Return an operand's values in float64, exact for products of integers; int32 holds int4."""
    return (unpacked_int4(matrix) if matrix.dtype == torch.int32 else matrix).double()


def packed_weight(weight: Tensor, inner: int) -> Tensor:
    """Return a weight (..., inner, columns), whose int4 are packed along the contiguous axis."""
    if weight.dtype != torch.int32:
        return weight.double()
    if weight.stride(-2) == 1 and weight.stride(-1) != 1:  # a transposed view: packed along inner
        return operand(weight.transpose(-1, -2)).transpose(-1, -2)
    return operand(weight)


_QMM = (
    "Tensor x1, Tensor x2, Tensor scale, *, Tensor? offset=None, Tensor? pertoken_scale=None, "
    "Tensor? bias=None, int? output_dtype=None, int? x1_dtype=None, int? x2_dtype=None, "
    "int? pertoken_scale_dtype=None, int? scale_dtype=None, int[]? group_sizes=None, "
    "Tensor? y_scale=None"
)


@kernel(f"npu::npu_quant_matmul({_QMM}) -> Tensor")
def npu_quant_matmul(
    x1: Tensor,
    x2: Tensor,
    scale: Tensor,
    *,
    offset: Tensor | None = None,
    pertoken_scale: Tensor | None = None,
    bias: Tensor | None = None,
    output_dtype: int | None = None,
    x1_dtype: int | None = None,
    x2_dtype: int | None = None,
    pertoken_scale_dtype: int | None = None,
    scale_dtype: int | None = None,
    group_sizes: list[int] | None = None,
    y_scale: Tensor | None = None,
) -> Tensor:
    """Return ``(x1 @ x2 + bias) * scale * pertoken_scale + offset`` in ``output_dtype`` (int8).

    An integer bias is added to the product, a floating one to the scaled result. int32 operands
    hold eight 4-bit integers each. Scales by groups of the inner dimension and of 8 bits are
    refused.
    """
    blocks = [s for s in (scale, pertoken_scale) if s is not None and s.element_size() == 1]
    if blocks or group_sizes or y_scale is not None or is_fp4(x1_dtype) or is_fp4(x2_dtype):
        raise BadInput(
            "npu_quant_matmul: porter's operator takes one scale per tensor, token and column, no "
            "blocks (group_sizes, y_scale, scales of 8 bits, float4)"
        )
    factor, shift = scale_and_offset(scale)
    left = operand(x1)
    result = left @ packed_weight(x2, left.shape[-1])
    integer = bias is not None and not bias.is_floating_point()
    if bias is not None and integer:
        result = result + bias
    result = result * factor
    if pertoken_scale is not None:
        result = result * wide(pertoken_scale).reshape(*pertoken_scale.shape[:1], 1)
    if bias is not None and not integer:
        result = result + wide(bias)
    shift = wide(offset) if offset is not None else shift
    made = dtype_of(output_dtype, torch.int8)
    if shift is not None and not made.is_floating_point:
        result = result + shift
    return rounded(result.float(), made) if made != torch.int32 else result.round().to(made)


@kernel("npu::npu_convert_weight_to_int4pack(Tensor weight, int inner_k_tiles=0) -> Tensor")
def npu_convert_weight_to_int4pack(weight: Tensor, inner_k_tiles: int = 0) -> Tensor:
    """Return an int32 weight with eight 4-bit integers of the last dimension in each element."""
    if weight.dtype != torch.int32:
        raise BadInput(
            f"npu_convert_weight_to_int4pack: weight is {weight.dtype}; porter's operator packs "
            "int32 (float32 to float4 is not simulated)"
        )
    return packed_int4(weight)


@kernel(
    "npu::npu_weight_quant_batchmatmul(Tensor x, Tensor weight, Tensor antiquant_scale, "
    "Tensor? antiquant_offset=None, Tensor? quant_scale=None, Tensor? quant_offset=None, "
    "Tensor? bias=None, int antiquant_group_size=0, int inner_precise=0, int? weight_dtype=None) "
    "-> Tensor"
)
def npu_weight_quant_batchmatmul(
    x: Tensor,
    weight: Tensor,
    antiquant_scale: Tensor,
    antiquant_offset: Tensor | None = None,
    quant_scale: Tensor | None = None,
    quant_offset: Tensor | None = None,
    bias: Tensor | None = None,
    antiquant_group_size: int = 0,
    inner_precise: int = 0,
    weight_dtype: int | None = None,
) -> Tensor:
    """Return ``x @ ((weight + antiquant_offset) * antiquant_scale) + bias`` in x's dtype.

    Scales are one, one per column, or one per column and group of ``antiquant_group_size`` rows.
    """
    if quant_scale is not None or quant_offset is not None or is_fp4(weight_dtype):
        raise BadInput(
            "npu_weight_quant_batchmatmul: porter's operator does not quantise its result and has "
            "no float4 weights"
        )
    full = packed_weight(weight, x.shape[-1])

    def spread(values: Tensor) -> Tensor:
        if antiquant_group_size and values.dim() == 2 and values.shape[0] > 1:
            values = values.repeat_interleave(antiquant_group_size, 0)[: full.shape[0]]
        return values.double()

    if antiquant_offset is not None:
        full = full + spread(antiquant_offset)
    result = x.double() @ (full * spread(antiquant_scale))
    if bias is not None:
        result = result + bias.double()
    return result.to(x.dtype)


@kernel(
    "npu::npu_add_rms_norm_quant(Tensor x1, Tensor x2, Tensor gamma, Tensor scales1, "
    "Tensor? zero_points1, Tensor? beta=None, Tensor? scales2=None, Tensor? zero_points2=None, *, "
    "int axis=-1, float epsilon=1e-06, bool div_mode=True, int? dst_type=None) "
    "-> (Tensor, Tensor, Tensor)"
)
def npu_add_rms_norm_quant(
    x1: Tensor,
    x2: Tensor,
    gamma: Tensor,
    scales1: Tensor,
    zero_points1: Tensor | None,
    beta: Tensor | None = None,
    scales2: Tensor | None = None,
    zero_points2: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-06,
    div_mode: bool = True,
    dst_type: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Quantise the RMS norm of ``x1 + x2`` with one or two scales; the third result is the sum.

    Without a second scale the second result is zeros.
    """
    total = x1 + x2
    normed = rms_norm(wide(total), wide(gamma), epsilon)[0]
    normed = normed if beta is None else normed + wide(beta)

    def scaled(scales: Tensor, shift: Tensor | None) -> Tensor:
        values = normed / wide(scales) if div_mode else normed * wide(scales)
        return _quantized(values if shift is None else values + wide(shift), dst_type)

    first = scaled(scales1, zero_points1)
    second = torch.zeros_like(first) if scales2 is None else scaled(scales2, zero_points2)
    return first, second, total


@kernel(
    "npu::npu_transpose_quant_batchmatmul(Tensor x1, Tensor x2, int dtype, *, Tensor? bias=None, "
    "Tensor? x1_scale=None, Tensor? x2_scale=None, int[]? group_sizes=None, int[]? perm_x1=None, "
    "int[]? perm_x2=None, int[]? perm_y=None, int? batch_split_factor=1, int? x1_dtype=None, "
    "int? x2_dtype=None) -> Tensor"
)
def npu_transpose_quant_batchmatmul(
    x1: Tensor,
    x2: Tensor,
    dtype: int,
    *,
    bias: Tensor | None = None,
    x1_scale: Tensor | None = None,
    x2_scale: Tensor | None = None,
    group_sizes: list[int] | None = None,
    perm_x1: list[int] | None = None,
    perm_x2: list[int] | None = None,
    perm_y: list[int] | None = None,
    batch_split_factor: int | None = 1,
    x1_dtype: int | None = None,
    x2_dtype: int | None = None,
) -> Tensor:
    """A batched product of 8-bit operands, permuted, times a scale per row and per column.

    By default ``perm_x1`` and ``perm_y`` exchange the first two dimensions (our reading of the
    page).
    """
    scales = [s for s in (x1_scale, x2_scale) if s is not None]
    if bias is not None or group_sizes or any(s.element_size() == 1 for s in scales):
        raise BadInput(
            "npu_transpose_quant_batchmatmul: porter's operator has no bias and no scales by block"
        )
    swap, straight = [1, 0, 2], [0, 1, 2]
    result = x1.permute(perm_x1 or swap).double() @ x2.permute(perm_x2 or straight).double()
    if x1_scale is not None:
        result = result * wide(x1_scale).reshape(1, -1, 1)
    if x2_scale is not None:
        result = result * wide(x2_scale).reshape(1, 1, -1)
    return result.to(dtype_of(dtype, torch.bfloat16)).permute(perm_y or swap).contiguous()
