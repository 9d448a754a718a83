"""``torch.ops.hpu``: 8-bit floats and 4-bit integers.

Schemas are those of HabanaAI/gaudi-pytorch-bridge 1.19.0
(``habana_eager/eager_custom_op_register.cpp`` and ``scripts/hpu_op.yaml``), formulas those of its
tests (``tests/pytest_working/any_mode``, ``test_hpu_fp8_ops_any_mode.py`` and
``test_hpu_convert_from_int4.py``). Products accumulate in float32 and are rounded once; rounding is
to nearest, also with ``stochastic_rounding``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from porter.device.sim.core.profiles import HPU
from porter.device.sim.vendors.fused_ops import kernel, wide

Scale = Tensor | float | list[float] | None
_FP8 = (torch.float8_e5m2, torch.float8_e4m3fn)


def limit_of(dtype: torch.dtype) -> float:
    """Return the largest magnitude of an 8-bit float on the simulated card."""
    return HPU.e4m3_limit if dtype is torch.float8_e4m3fn else float(torch.finfo(dtype).max)


def quantized(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the values in an 8-bit float, saturating at the card's limit."""
    limit = limit_of(dtype)
    return value.clamp(-limit, limit).to(dtype)


def _factor(scale: Scale, like: Tensor, shape: list[int] | None = None) -> Tensor | float:
    """Return a scale as a factor of ``like``, reshaped to ``shape`` if given."""
    if scale is None:
        return 1.0
    if isinstance(scale, list):
        scale = like.new_tensor(scale, dtype=torch.float32)
    if isinstance(scale, Tensor):
        return scale.reshape(shape) if shape else scale
    return float(scale)


def _cast_to_fp8(
    input: Tensor,
    scale: Scale = None,
    stochastic_rounding: bool = False,
    is_amax: bool = False,
    dtype: torch.dtype | None = None,
    scale_shape: list[int] | None = None,
) -> tuple[Tensor, Tensor]:
    wanted = dtype if dtype in _FP8 else torch.float8_e5m2
    if input.dtype in _FP8:
        _check_fp8_input(input.dtype, wanted, is_amax)
    value = input.float() if input.dtype in _FP8 else input
    factor = _factor(scale, value, scale_shape)
    scaled = value * (factor.to(value.dtype) if isinstance(factor, Tensor) else factor)
    largest = wide(input).abs().amax().float() if is_amax else value.new_empty(0).float()
    made = quantized(scaled, wanted)
    # Without a dtype the vendor's result is int8, the format of its first release: e5m2's bits
    # (our reading of _custom_op_meta_registrations.py).
    return (made if dtype in _FP8 else made.view(torch.int8)), largest


def _check_fp8_input(given: torch.dtype, wanted: torch.dtype, is_amax: bool) -> None:
    """Raise as the vendor's test of the same name states."""
    if is_amax:
        raise RuntimeError("CastToFp8V2 must have no amax for float8.")
    if given is not wanted:
        titles = [str(each).replace("torch.f", "F") for each in (given, wanted)]
        raise RuntimeError(
            "CastToFp8V2 input and output must have the same dtype for float8, "
            f"but are {titles[0]} and {titles[1]}"
        )


_TO = (
    "bool stochastic_rounding=False, bool is_amax=False, ScalarType dtype=None, "
    "int[]? scale_shape=None) -> (Tensor, Tensor)"
)
kernel(f"hpu::cast_to_fp8_v2(Tensor input, Tensor? scale=None, {_TO}")(_cast_to_fp8)
kernel(f"hpu::cast_to_fp8_v2.scalar(Tensor input, float scale, {_TO}")(_cast_to_fp8)
kernel(f"hpu::cast_to_fp8_v2.scalar_list(Tensor input, float[] scale, {_TO}")(_cast_to_fp8)


@kernel(
    "hpu::cast_to_fp8(Tensor input, Tensor? scale, bool stochastic_rounding, Tensor(a!) out, "
    "Tensor(b!) amax) -> (Tensor(a!), Tensor(b!))"
)
def _cast_to_fp8_out(
    input: Tensor, scale: Tensor | None, stochastic_rounding: bool, out: Tensor, amax: Tensor
) -> tuple[Tensor, Tensor]:
    made, largest = _cast_to_fp8(input, scale, stochastic_rounding, True, out.dtype)
    out.copy_(made)
    amax.copy_(largest.reshape(amax.shape))
    return out, amax


@kernel(
    "hpu::cast_to_fp8_hybrid(Tensor input, Tensor? scale_152=None, Tensor? scale_143=None, "
    "bool stochastic_rounding=False, bool is_amax=False) -> (Tensor, Tensor, Tensor)"
)
def _cast_to_fp8_hybrid(
    input: Tensor,
    scale_152: Tensor | None = None,
    scale_143: Tensor | None = None,
    stochastic_rounding: bool = False,
    is_amax: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    wide_range, largest = _cast_to_fp8(
        input, scale_152, stochastic_rounding, is_amax, torch.float8_e5m2
    )
    precise = _cast_to_fp8(input, scale_143, stochastic_rounding, False, torch.float8_e4m3fn)[0]
    return wide_range, precise, largest


def _cast_from_fp8(
    input: Tensor, scale: Scale, out_dtype: torch.dtype, scale_shape: list[int] | None = None
) -> Tensor:
    return (input.float() * _factor(scale, input, scale_shape)).to(out_dtype)


_FROM = "ScalarType out_dtype, int[]? scale_shape=None) -> Tensor"
kernel(f"hpu::cast_from_fp8(Tensor input, Tensor? scale, {_FROM}")(_cast_from_fp8)
kernel(f"hpu::cast_from_fp8.scalar(Tensor input, float scale, {_FROM}")(_cast_from_fp8)
kernel(f"hpu::cast_from_fp8.scalar_list(Tensor input, float[] scale, {_FROM}")(_cast_from_fp8)


def _fp8_gemm(
    A: Tensor,
    trans_A: bool,
    B: Tensor,
    trans_B: bool,
    D: Tensor | None,
    out_dtype: torch.dtype,
    A_scale_inv: Scale = None,
    B_scale_inv: Scale = None,
    bias: Tensor | None = None,
    accumulate: bool = False,
    B_scale_shape: list[int] | None = None,
) -> Tensor:
    left, right = A.float(), B.float()
    left = left.transpose(-2, -1) if trans_A and left.dim() > 1 else left
    right = right.transpose(-2, -1) if trans_B and right.dim() > 1 else right
    result = left @ right
    result = result * _factor(A_scale_inv, result) * _factor(B_scale_inv, result, B_scale_shape)
    if bias is not None:
        result = result + bias.float()
    if accumulate and D is not None:
        result = result + D.float()
    return result.to(out_dtype)


_GEMM = "Tensor A, bool trans_A, Tensor B, bool trans_B, Tensor? D, ScalarType out_dtype"
_GEMM_END = "Tensor? bias=None, bool accumulate=False, int[]? B_scale_shape=None) -> Tensor"
for _overload, _kind in (("", "Tensor?"), (".scalar", "float"), (".scalar_list", "float[]")):
    _default = "=None" if not _overload else ""
    kernel(
        f"hpu::fp8_gemm_v2{_overload}({_GEMM}, {_kind} A_scale_inv{_default}, "
        f"{_kind} B_scale_inv{_default}, {_GEMM_END}"
    )(_fp8_gemm)


@kernel(
    "hpu::fp8_gemm(Tensor A, bool trans_A, Tensor B, bool trans_B, Tensor D, ScalarType out_dtype, "
    "Tensor? A_scale_inv, Tensor? B_scale_inv, Tensor? bias, bool accumulate, Tensor(a!) out) "
    "-> Tensor(a!)"
)
def _fp8_gemm_out(
    A: Tensor,
    trans_A: bool,
    B: Tensor,
    trans_B: bool,
    D: Tensor,
    out_dtype: torch.dtype,
    A_scale_inv: Tensor | None,
    B_scale_inv: Tensor | None,
    bias: Tensor | None,
    accumulate: bool,
    out: Tensor,
) -> Tensor:
    made = _fp8_gemm(
        A, trans_A, B, trans_B, D, out_dtype, A_scale_inv, B_scale_inv, bias, accumulate
    )
    return out.copy_(made)


def _conv2d_fp8(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: list[int] | int = 1,
    padding: list[int] | int = 0,
    dilation: list[int] | int = 1,
    groups: int = 1,
    out_dtype: torch.dtype | None = None,
    scale_input: Tensor | float | None = None,
    scale_weight: Tensor | float | None = None,
) -> Tensor:
    made = torch.conv2d(input.float(), weight.float(), None, stride, padding, dilation, groups)
    for scale in (scale_input, scale_weight):
        made = made if scale is None else made * scale
    if bias is not None:
        made = made + bias.float().view(1, -1, 1, 1)
    # Without a dtype the result is bfloat16 (our reading: fp8_gemm_v2 has no default either).
    return made.to(out_dtype or torch.bfloat16)


_CONV2D = (
    "Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=1, SymInt[2] padding=0, "
    "SymInt[2] dilation=1, int groups=1, ScalarType? out_dtype=None"
)
kernel(
    f"hpu::conv2d_fp8({_CONV2D}, Tensor? scale_input=None, Tensor? scale_weight=None) -> Tensor"
)(_conv2d_fp8)
kernel(
    f"hpu::conv2d_fp8.scalar({_CONV2D}, float scale_input=1.0, float scale_weight=1.0) -> Tensor"
)(_conv2d_fp8)


@kernel(
    "hpu::sum_fp8(Tensor self, int[1]? dim=None, bool keepdim=False, ScalarType? out_dtype=None) "
    "-> Tensor"
)
def _sum_fp8(
    self: Tensor,
    dim: list[int] | None = None,
    keepdim: bool = False,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    total = self.float().sum(dim, keepdim)
    return quantized(total, self.dtype) if out_dtype is None else total.to(out_dtype)


def _softmax_fp8(
    input: Tensor,
    dim: int,
    input_scale: Tensor | float | None = None,
    output_scale: Tensor | float | None = None,
    inv_attn_heads: Tensor | float | None = None,
    fused_add: Tensor | None = None,
) -> Tensor:
    if (input_scale is None) != (output_scale is None):
        raise RuntimeError("Output and input scales must be both given or None")
    if input.dtype is torch.float8_e4m3fn and input_scale is None:
        raise RuntimeError(
            "If Input is of torch.float8_e4m3fn dtype then input scale must be given."
        )
    scores = input.float()
    for factor in (inv_attn_heads, input_scale):
        scores = scores if factor is None else scores * factor
    if fused_add is not None:
        scores = scores + fused_add.float()
    weights = scores.softmax(dim)
    if output_scale is None:
        return weights.to(torch.bfloat16)
    return quantized(weights * output_scale, torch.float8_e4m3fn)


_SOFTMAX = "Tensor? fused_add=None) -> Tensor"
kernel(
    "hpu::softmax_fp8(Tensor input, int dim, Tensor? input_scale=None, Tensor? output_scale=None, "
    f"Tensor? inv_attn_heads=None, {_SOFTMAX}"
)(_softmax_fp8)
kernel(
    "hpu::softmax_fp8.Scalar_scales(Tensor input, int dim, float input_scale, float output_scale, "
    f"Tensor? inv_attn_heads=None, {_SOFTMAX}"
)(_softmax_fp8)
kernel(
    "hpu::softmax_fp8.Scalar(Tensor input, int dim, float input_scale, float output_scale, "
    f"float inv_attn_heads, {_SOFTMAX}"
)(_softmax_fp8)


def unpacked(packed: Tensor, *, signed: bool) -> Tensor:
    """Return the eight 4-bit integers of each int32, the lowest bits first, as int32.

    The last dimension becomes eight times as long.
    """
    shifts = torch.arange(0, 32, 4, dtype=torch.int32, device=packed.device)
    bits = packed.to(torch.int32).unsqueeze(-1).bitwise_right_shift(shifts).bitwise_and(15)
    if signed:
        bits = torch.where(bits > 7, bits - 16, bits)
    return bits.flatten(-2)


def _by_row(values: Tensor, rows: Tensor, group_index: Tensor | None) -> Tensor:
    """Return one row of ``values`` for each of ``rows``: of its group, where groups are fewer."""
    if values.dim() < 2 or values.shape[0] == rows.shape[0]:
        return values
    if group_index is not None:
        return values[group_index.long()]
    return values.repeat_interleave(rows.shape[0] // values.shape[0], 0)


def _from_int4(
    input: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    out_dtype: torch.dtype,
    g_idx: Tensor | None,
    *,
    signed: bool,
) -> Tensor:
    values = unpacked(input, signed=signed)
    if zero_point is None:
        centred = values.float()
    elif zero_point.is_floating_point():
        centred = values.float() - _by_row(zero_point, values, g_idx).float()
    else:
        shift = _by_row(unpacked(zero_point, signed=signed), values, g_idx)
        bits = torch.int8 if signed else torch.uint8  # the card subtracts in 8 bits
        centred = (values - shift).to(bits).float()
    return (centred * _by_row(scale, values, g_idx).float()).to(out_dtype)


@kernel(
    "hpu::convert_from_int4(Tensor input, Tensor scale, Tensor? zero_point, ScalarType out_dtype) "
    "-> Tensor"
)
def _convert_from_int4(
    input: Tensor, scale: Tensor, zero_point: Tensor | None, out_dtype: torch.dtype
) -> Tensor:
    return _from_int4(input, scale, zero_point, out_dtype, None, signed=True)


@kernel(
    "hpu::convert_from_uint4(Tensor input, Tensor scale, Tensor? zero_point, ScalarType out_dtype, "
    "Tensor? g_idx=None) -> Tensor"
)
def _convert_from_uint4(
    input: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    out_dtype: torch.dtype,
    g_idx: Tensor | None = None,
) -> Tensor:
    # g_idx, the group of each row, is of later releases (vllm-gaudi passes it): our reading.
    return _from_int4(input, scale, zero_point, out_dtype, g_idx, signed=False)
