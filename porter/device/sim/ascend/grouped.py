"""Products of groups of rows with the weights of their experts, in ``torch_npu``.

Schemas: ``op_plugin/config/op_plugin_functions.yaml`` of Ascend/op-plugin (517f2e7d, August 2026);
formulas: its ``docs/zh/custom_APIs`` and ``test/test_custom_ops/test_npu_grouped_matmul.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from porter.device.sim.ascend.dtypes import dtype_of
from porter.device.sim.ascend.quantization import (
    operand,
    packed_weight,
    rounded,
    scale_and_offset,
)
from porter.device.sim.vendors.fused_ops import kernel, wide
from porter.errors import BadInput

_GMM = (
    "Tensor[] x, Tensor[] weight, *, Tensor[]? bias=None, Tensor[]? scale=None, "
    "Tensor[]? offset=None, Tensor[]? antiquant_scale=None, Tensor[]? antiquant_offset=None, "
    "Tensor[]? per_token_scale=None, {list}? group_list=None, Tensor[]? activation_input=None, "
    "Tensor[]? activation_quant_scale=None, Tensor[]? activation_quant_offset=None, "
    "int? split_item=0, int? group_type=None, int? group_list_type=0, int? act_type=0, "
)


def _one(values: list[Tensor] | None, place: int) -> Tensor | None:
    """Return the part of expert ``place``: of a list, or of the only tensor's first dimension."""
    if not values:
        return None
    if len(values) > 1:
        return values[place]
    only = values[0]
    return only[place] if only.dim() > 1 else only


def _grouped(
    x: list[Tensor],
    weight: list[Tensor],
    bias: list[Tensor] | None,
    scale: list[Tensor] | None,
    antiquant_scale: list[Tensor] | None,
    antiquant_offset: list[Tensor] | None,
    per_token_scale: list[Tensor] | None,
    group_list: Tensor | list[int] | None,
    split_item: int | None,
    group_type: int | None,
    group_list_type: int | None,
    dtype: torch.dtype | None,
) -> list[Tensor]:
    """Return the products of groups of rows with their own weights, as one tensor or a list."""
    made = dtype or (x[0].dtype if x[0].is_floating_point() else torch.int32)
    if group_list is None or (len(x) > 1 and group_type in (None, -1)):
        each_token: list[Tensor | None] = list(per_token_scale or []) or [None] * len(x)
        return [
            _product(each, matrix, _one(bias, i), _one(scale, i), None, None, each_token[i]).to(
                made
            )
            for i, (each, matrix) in enumerate(zip(x, weight, strict=True))
        ]
    ends = group_list if isinstance(group_list, Tensor) else x[0].new_tensor(group_list)
    ends = ends.to(torch.int64)
    ends = ends.cumsum(0) if group_list_type == 1 else ends
    rows = torch.cat(x) if len(x) > 1 else x[0]
    if group_type == 2:
        return [_by_inner(rows, weight, ends).to(made)]
    place = torch.arange(rows.shape[0], device=rows.device).unsqueeze(-1)
    group = (place >= ends).sum(-1, keepdim=True)
    tokens = per_token_scale[0] if per_token_scale else None
    total: Tensor | None = None
    for index in range(ends.shape[0]):
        matrix = weight[index] if len(weight) > 1 else weight[0][index]
        part = _product(
            rows, matrix, _one(bias, index), _one(scale, index), _one(antiquant_scale, index),
            _one(antiquant_offset, index), tokens,
        )  # fmt: skip
        mine = torch.where(group == index, part, 0.0)
        total = mine if total is None else total + mine
    assert total is not None
    result = total.to(made)
    if split_item in (2, 3):
        return [result]
    sizes = ends.diff(prepend=ends.new_zeros(1)).tolist()
    return list(result[: sum(sizes)].split(sizes))


def _product(
    rows: Tensor,
    matrix: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    antiquant_scale: Tensor | None,
    antiquant_offset: Tensor | None,
    tokens: Tensor | None,
) -> Tensor:
    full = packed_weight(matrix, rows.shape[-1])
    if antiquant_offset is not None:
        full = full + antiquant_offset.double()
    if antiquant_scale is not None:
        full = full * antiquant_scale.double()
    result = operand(rows) @ full
    integer = bias is not None and not bias.is_floating_point()
    if bias is not None and integer:
        result = result + bias
    if scale is not None:
        result = result * scale_and_offset(scale)[0]
    if tokens is not None:
        result = result * wide(tokens).reshape(-1, 1)
    return result if bias is None or integer else result + bias.double()


def _by_inner(rows: Tensor, weight: list[Tensor], ends: Tensor) -> Tensor:
    """Return one product per group of the inner dimension: ``x[:, group] @ weight[group]``."""
    place = torch.arange(rows.shape[-1], device=rows.device)
    group = (place.unsqueeze(-1) >= ends).sum(-1)
    parts = [
        torch.where(group == index, rows.double(), 0.0) @ weight[0].double()
        for index in range(ends.shape[0])
    ]
    return torch.stack(parts)


def _refuse_fused(act: int | None, *parts: list[Tensor] | None) -> None:
    if act or any(parts):
        raise BadInput(
            "npu_grouped_matmul: porter's operator has no activation (act_type, activation_*) and "
            "no offset; apply them to its result"
        )


_GMM_DTYPES = (
    "int[]? tuning_config=None, int? output_dtype=None, int? x_dtype=None, int? weight_dtype=None, "
    "int? scale_dtype=None, int? per_token_scale_dtype=None"
)


@kernel(f"npu::npu_grouped_matmul({_GMM.format(list='Tensor')}{_GMM_DTYPES}) -> Tensor[]")
def npu_grouped_matmul(
    x: list[Tensor],
    weight: list[Tensor],
    *,
    bias: list[Tensor] | None = None,
    scale: list[Tensor] | None = None,
    offset: list[Tensor] | None = None,
    antiquant_scale: list[Tensor] | None = None,
    antiquant_offset: list[Tensor] | None = None,
    per_token_scale: list[Tensor] | None = None,
    group_list: Tensor | None = None,
    activation_input: list[Tensor] | None = None,
    activation_quant_scale: list[Tensor] | None = None,
    activation_quant_offset: list[Tensor] | None = None,
    split_item: int | None = 0,
    group_type: int | None = None,
    group_list_type: int | None = 0,
    act_type: int | None = 0,
    tuning_config: list[int] | None = None,
    output_dtype: int | None = None,
    x_dtype: int | None = None,
    weight_dtype: int | None = None,
    scale_dtype: int | None = None,
    per_token_scale_dtype: int | None = None,
) -> list[Tensor]:
    """Return the products of groups of rows with the weights of their experts.

    ``group_list`` holds the groups' ends, or their sizes with ``group_list_type`` 1. ``group_type``
    0 splits the rows, 2 the inner dimension, -1 nothing (lists of equal length). ``split_item`` 2
    and 3 give one tensor.
    """
    _refuse_fused(
        act_type, offset, activation_input, activation_quant_scale, activation_quant_offset
    )
    return _grouped(
        x, weight, bias, scale, antiquant_scale, antiquant_offset, per_token_scale, group_list,
        split_item, group_type, group_list_type,
        None if output_dtype is None else dtype_of(output_dtype, torch.int8),
    )  # fmt: skip


@kernel(
    f"npu::npu_grouped_matmul.List({_GMM.format(list='int[]')}ScalarType? output_dtype=None) "
    "-> Tensor[]"
)
def _grouped_matmul_list(
    x: list[Tensor],
    weight: list[Tensor],
    *,
    bias: list[Tensor] | None = None,
    scale: list[Tensor] | None = None,
    offset: list[Tensor] | None = None,
    antiquant_scale: list[Tensor] | None = None,
    antiquant_offset: list[Tensor] | None = None,
    per_token_scale: list[Tensor] | None = None,
    group_list: list[int] | None = None,
    activation_input: list[Tensor] | None = None,
    activation_quant_scale: list[Tensor] | None = None,
    activation_quant_offset: list[Tensor] | None = None,
    split_item: int | None = 0,
    group_type: int | None = None,
    group_list_type: int | None = 0,
    act_type: int | None = 0,
    output_dtype: torch.dtype | None = None,
) -> list[Tensor]:
    _refuse_fused(
        act_type, offset, activation_input, activation_quant_scale, activation_quant_offset
    )
    return _grouped(
        x, weight, bias, scale, antiquant_scale, antiquant_offset, per_token_scale, group_list,
        split_item, group_type, group_list_type, output_dtype,
    )  # fmt: skip


@kernel(
    "npu::npu_quant_grouped_matmul_dequant(Tensor x, Tensor quantized_weight, Tensor weight_scale, "
    "Tensor group_list, *, Tensor? bias=None, Tensor? x_scale=None, Tensor? x_offset=None, "
    "Tensor? smooth_scale=None, str? quant_mode='pertoken') -> Tensor"
)
def npu_quant_grouped_matmul_dequant(
    x: Tensor,
    quantized_weight: Tensor,
    weight_scale: Tensor,
    group_list: Tensor,
    *,
    bias: Tensor | None = None,
    x_scale: Tensor | None = None,
    x_offset: Tensor | None = None,
    smooth_scale: Tensor | None = None,
    quant_mode: str | None = "pertoken",
) -> Tensor:
    """Quantise rows to int8, multiply groups with int8 weights (groups, n, k), and scale back."""
    if bias is not None or x_offset is not None:
        raise BadInput("npu_quant_grouped_matmul_dequant: bias and x_offset are not supported")
    values = wide(x) if smooth_scale is None else wide(x) * wide(smooth_scale)
    scale = values.abs().amax(-1) / 127.0 if x_scale is None else wide(x_scale)
    rows = rounded(values / scale.reshape(-1, 1), torch.int8)
    return _grouped(
        [rows], [quantized_weight.transpose(-1, -2)], None, [weight_scale], None, None,
        [scale.expand(rows.shape[0])], group_list, 3, 0, 0, x.dtype,
    )[0]  # fmt: skip
