"""``torch.ops.hpu``'s attention, also in 8-bit floats, and ``hpex.kernels.Fp8FusedSDPA``.

Schemas and result shapes are those of HabanaAI/gaudi-pytorch-bridge 1.19.0
(``habana_eager/eager_custom_op_register.cpp``, ``hpu_ops/backend/sdpa_gen.cpp``), the formula that
of its ``test_hpu_sdpa_fp8.py``. Nothing has a gradient here: ``FusedSDPA`` has. ``window_size`` and
``sinks`` are of later releases, which vllm-gaudi calls; other values than none are refused.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from porter.device.sim.habana.fp8 import quantized
from porter.device.sim.habana.hpu import recompute_sdp_enabled
from porter.device.sim.habana.kernels import within
from porter.device.sim.vendors.fused_ops import kernel, wide
from porter.errors import BadInput

Scale = Tensor | float | None
_FP8 = (torch.float8_e5m2, torch.float8_e4m3fn)


def _value(tensor: Tensor, scale: Scale) -> Tensor:
    """Return what the elements stand for, in the kernels' precision."""
    return wide(tensor) if scale is None else wide(tensor) * scale


def _scores(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    scale: float,
    is_causal: bool,
    lengths: Tensor | None,
    padding: str,
) -> Tensor:
    """Return masked, scaled products (..., queries, keys); a mask beside ``is_causal`` is added."""
    if key.dim() > 2 and key.shape[-3] != query.shape[-3] and key.shape[-3] != 1:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query @ key.transpose(-1, -2) * scale
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -math.inf)
    elif mask is not None:
        scores = scores + wide(mask)
    if lengths is not None:
        scores = scores.masked_fill(~within(key, lengths, padding), -math.inf)
    elif is_causal and mask is None:
        rows, columns = scores.shape[-2:]
        scores = scores.masked_fill(
            scores.new_ones(rows, columns, dtype=torch.bool).triu(1), -math.inf
        )
    return scores


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    is_causal: bool,
    lengths: Tensor | None,
    padding: str,
    scales: tuple[Scale, ...] = (None,) * 6,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return result, softmax, largest scores and their sums' reciprocals, unrounded.

    ``scales`` are those of query, key and value (multiplied), of the softmax (multiplied before it
    is rounded to 8 bits), of the result, and of the rounded softmax (multiplied).
    """
    d_q, d_k, d_v, q_s, q_o, d_s = scales
    values = _value(value, d_v)
    if values.dim() > 2 and values.shape[-3] != query.shape[-3] and values.shape[-3] != 1:
        values = values.repeat_interleave(query.shape[-3] // values.shape[-3], -3)
    scores = _scores(
        _value(query, d_q), _value(key, d_k), mask, scale, is_causal, lengths, padding.lower()
    )
    top = scores.amax(-1, keepdim=True)
    weights = (scores - top).exp()
    total = weights.sum(-1, keepdim=True)
    weights = weights / total
    rounded = weights
    if query.dtype in _FP8:
        rounded = quantized(weights if q_s is None else weights * q_s, query.dtype).float()
        rounded = rounded if d_s is None else rounded * d_s
    result = rounded @ values
    return result if q_o is None else result * q_o, weights, top, 1.0 / total


def _refuse(dropout: float, window: list[int] | None = None, sinks: Tensor | None = None) -> None:
    if dropout:
        raise BadInput(
            f"torch.ops.hpu attention: porter's operators have no dropout, found p={dropout}; call "
            "FusedSDPA, which has"
        )
    if sinks is not None or (window is not None and set(window) != {-1}):
        raise BadInput(
            "torch.ops.hpu attention: porter's operators have no window_size and no sinks; leave "
            "them out"
        )


def _result_dtype(query: Tensor, q_scale_o: Scale) -> torch.dtype:
    return torch.bfloat16 if query.dtype in _FP8 and q_scale_o is None else query.dtype


def _rounded(result: Tensor, dtype: torch.dtype) -> Tensor:
    return quantized(result, dtype) if dtype in _FP8 else result.to(dtype)


_QKV = "Tensor q, Tensor k, Tensor v, Tensor? attention_mask, float p, float scale, bool is_causal"
_SCALES = ("d_scale_q", "d_scale_k", "d_scale_v", "q_scale_s", "q_scale_o", "d_scale_s")
_VALID = "Tensor? valid_seq_len, str seq_padding_type"


@kernel(f"hpu::sdpa_fwd({_QKV}, str softmax_mode, {_VALID}) -> (Tensor, Tensor, Tensor)")
def _sdpa_fwd(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attention_mask: Tensor | None,
    p: float,
    scale: float,
    is_causal: bool,
    softmax_mode: str,
    valid_seq_len: Tensor | None,
    seq_padding_type: str,
) -> tuple[Tensor, Tensor, Tensor]:
    _refuse(p)
    result, weights, _, _ = _attend(
        q, k, v, attention_mask, scale, is_causal, valid_seq_len, seq_padding_type
    )
    return result.to(q.dtype), weights.to(q.dtype), q.new_empty(1, dtype=torch.int8)


@kernel(
    f"hpu::sdpa_recomp_fwd({_QKV}, bool requires_backward, str softmax_mode, {_VALID}) "
    "-> (Tensor, Tensor, Tensor, Tensor)"
)
def _sdpa_recomp_fwd(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attention_mask: Tensor | None,
    p: float,
    scale: float,
    is_causal: bool,
    requires_backward: bool,
    softmax_mode: str,
    valid_seq_len: Tensor | None,
    seq_padding_type: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _refuse(p)
    result, _, top, reciprocal = _attend(
        q, k, v, attention_mask, scale, is_causal, valid_seq_len, seq_padding_type
    )
    if not requires_backward:
        top = reciprocal = top.new_empty(1)
    reciprocal = reciprocal.to(q.dtype).clone()
    return result.to(q.dtype), top.to(q.dtype), reciprocal, q.new_zeros(1, dtype=torch.int32)


def _fp8_sdpa_fwd(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attention_mask: Tensor | None,
    p: float,
    scale: float,
    is_causal: bool,
    softmax_mode: str,
    d_scale_q: Scale,
    d_scale_k: Scale,
    d_scale_v: Scale,
    q_scale_s: Scale,
    q_scale_o: Scale,
    d_scale_s: Scale,
    is_amax_s: bool,
    valid_seq_len: Tensor | None,
    seq_padding_type: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _refuse(p)
    result, weights, _, _ = _attend(
        q, k, v, attention_mask, scale, is_causal, valid_seq_len, seq_padding_type,
        (d_scale_q, d_scale_k, d_scale_v, q_scale_s, q_scale_o, d_scale_s),
    )  # fmt: skip
    kept = weights if q_scale_s is None else weights * q_scale_s
    return (
        _rounded(result, _result_dtype(q, q_scale_o)),
        _rounded(kept, q.dtype),
        q.new_empty(1, dtype=torch.int8),
        _largest(weights, is_amax_s),
    )


def _largest(values: Tensor, wanted: bool) -> Tensor:
    return values.abs().amax().float().reshape(1) if wanted else values.new_zeros(1).float()


kernel(
    f"hpu::fp8_sdpa_fwd({_QKV}, str softmax_mode, "
    f"{', '.join(f'Tensor? {name}' for name in _SCALES)}, bool is_amax_s, {_VALID}) "
    "-> (Tensor, Tensor, Tensor, Tensor)"
)(_fp8_sdpa_fwd)


def _fp8_sdpa_recomp_fwd(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attention_mask: Tensor | None,
    p: float,
    scale: float,
    is_causal: bool,
    requires_backward: bool,
    softmax_mode: str,
    d_scale_q: Scale,
    d_scale_k: Scale,
    d_scale_v: Scale,
    q_scale_s: Scale,
    q_scale_o: Scale,
    d_scale_s: Scale,
    is_amax_s: bool,
    is_amax_0: bool,
    valid_seq_len: Tensor | None,
    seq_padding_type: str,
    window_size: list[int] | None = None,
    sinks: Tensor | None = None,
) -> tuple[Tensor, ...]:
    _refuse(p, window_size, sinks)
    result, weights, top, reciprocal = _attend(
        q, k, v, attention_mask, scale, is_causal, valid_seq_len, seq_padding_type,
        (d_scale_q, d_scale_k, d_scale_v, q_scale_s, q_scale_o, d_scale_s),
    )  # fmt: skip
    if not requires_backward:
        top = reciprocal = top.new_empty(1)
    is_fp8 = q.dtype in _FP8
    fast = is_fp8 or (softmax_mode == "fast" and q.dtype == torch.bfloat16)
    return (
        _rounded(result, _result_dtype(q, q_scale_o)),
        top.to(torch.bfloat16 if is_fp8 else q.dtype),
        reciprocal.to(torch.bfloat16 if fast else torch.float32).clone(),
        q.new_zeros(1, dtype=torch.int32),
        _largest(weights, is_amax_s),
        _largest(result, is_amax_0),
    )


for _overload, _type in (("", "Tensor?"), (".scalar", "float")):
    kernel(
        f"hpu::fp8_sdpa_recomp_fwd{_overload}({_QKV}, bool requires_backward, str softmax_mode, "
        f"{', '.join(f'{_type} {name}' for name in _SCALES)}, bool is_amax_s, bool is_amax_0, "
        f"{_VALID}, int[]? window_size=None, Tensor? sinks=None) "
        "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
    )(_fp8_sdpa_recomp_fwd)


def is_gqa(q: Tensor, k: Tensor) -> bool:
    """Whether queries share keys in groups: fewer heads of keys than of queries, more than one."""
    return q.dim() == 4 and k.shape[1] not in (1, q.shape[1])


def gqa_input_reshape_fwd(
    q: Tensor, k: Tensor, v: Tensor, attention_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Split the heads (dimension 1) into groups and heads of a group; keys and values have one."""
    groups, heads = k.shape[1], q.shape[1]
    if attention_mask is not None:
        if attention_mask.shape[1] == heads:
            attention_mask = attention_mask.unflatten(1, (groups, heads // groups))
        else:
            attention_mask = attention_mask.unsqueeze(1)
    split = (q.unflatten(1, (groups, heads // groups)), k.unsqueeze(2), v.unsqueeze(2))
    return (*split, attention_mask)


def gqa_output_reshape(tensor: Tensor) -> Tensor:
    """Join groups and heads of a group (dimensions 1 and 2)."""
    return tensor.flatten(1, 2)


def fp8_fused_sdpa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    softmax_mode: str = "None",
    d_scale_q: Scale = None,
    d_scale_k: Scale = None,
    d_scale_v: Scale = None,
    q_scale_s: Scale = None,
    q_scale_o: Scale = None,
    d_scale_s: Scale = None,
    is_amax_s: bool = False,
    is_amax_o: bool = False,
    valid_seq_len: Tensor | None = None,
    seq_padding_type: str = "left",
    recompute: bool | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return attention of 8-bit operands and the largest weight and result, for inference."""
    if any(t.requires_grad for t in (q, k, v)):
        raise BadInput(
            "fp8_fused_sdpa: porter's simulated module computes it for inference; call it under "
            "torch.no_grad(), or FusedSDPA"
        )
    if valid_seq_len is not None:
        assert is_causal, "valid_seq_len goes with is_causal"
        assert attn_mask is None, "valid_seq_len goes without a mask"
    factor = q.shape[-1] ** -0.5 if scale is None else float(scale)
    grouped = is_gqa(q, k)
    if grouped:
        q, k, v, attn_mask = gqa_input_reshape_fwd(q, k, v, attn_mask)
    scales = (d_scale_q, d_scale_k, d_scale_v, q_scale_s, q_scale_o, d_scale_s)
    mode, padding = softmax_mode.lower(), seq_padding_type.lower()
    if recompute if recompute is not None else recompute_sdp_enabled():
        out, _, _, _, amax_s, amax_o = torch.ops.hpu.fp8_sdpa_recomp_fwd(
            q, k, v, attn_mask, dropout_p, factor, is_causal, False, mode, *scales, is_amax_s,
            is_amax_o, valid_seq_len, padding,
        )  # fmt: skip
    else:
        out, _, _, amax_s = torch.ops.hpu.fp8_sdpa_fwd(
            q, k, v, attn_mask, dropout_p, factor, is_causal, mode, *scales, is_amax_s,
            valid_seq_len, padding,
        )  # fmt: skip
        amax_o = None
    return (gqa_output_reshape(out) if grouped else out), amax_s, amax_o
