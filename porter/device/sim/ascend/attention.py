"""``npu_fusion_attention`` and variants: scaled dot-product attention with Ascend's layouts.

Documented formula (API reference of Ascend Extension for PyTorch, ``npu_fusion_attention``)::

    y = softmax(mask(scale * (pse + query @ key^T), atten_mask))
    attention = dropout(y, keep_prob) @ value

``atten_mask`` is True where a position is *hidden*, the opposite of PyTorch's boolean mask. The
softmax and both products accumulate in float32; only the result is rounded to the input's dtype.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from porter.device.sim.vendors.fused_ops import fused, wide
from porter.errors import BadInput

_AXES = {"BSH": "BSND", "SBH": "SBND", "BSND": "BSND", "BNSD": "BNSD", "TND": "BSND"}
"""By layout, its axes once H is split into heads and the packed T has a batch of one."""

_HIDDEN = -3.0e38  # not -inf: a fully hidden row averages the values instead of giving NaN
_FAR = 2147483647


def to_heads(tensor: Tensor, heads: int, layout: str) -> Tensor:
    """Rearrange a query, key or value in ``layout`` to (batch, heads, sequence, head size)."""
    if layout.endswith("H"):
        tensor = tensor.unflatten(-1, (heads, -1))
    if layout == "TND":
        tensor = tensor.unsqueeze(0)
    return tensor.permute([_AXES[layout].index(axis) for axis in "BNSD"])


def from_heads(tensor: Tensor, layout: str) -> Tensor:
    """Invert :func:`to_heads`."""
    tensor = tensor.permute(["BNSD".index(axis) for axis in _AXES[layout]])
    if layout == "TND":
        tensor = tensor.squeeze(0)
    return tensor.flatten(-2) if layout.endswith("H") else tensor.contiguous()


def hidden_positions(
    mask: Tensor, mode: int, rows: int, columns: int, before: int, after: int
) -> Tensor:
    """Return which (row, column) pairs ``sparse_mode`` hides."""
    if mode in (2, 3):
        before, after = _FAR, 0
    hidden = mask.bool() if mode in (0, 1) else None
    if hidden is not None and (mode == 1 or (before >= columns and after >= rows)):
        return hidden
    row = torch.arange(rows, device=mask.device).unsqueeze(1)
    row = row + (columns - rows if mode in (3, 4) else 0)
    column = torch.arange(columns, device=mask.device).unsqueeze(0)
    outside = (column > row + after) | (column < row - before)
    return outside if hidden is None else hidden | outside


def sequence_mask(like: Tensor, rows: list[int], columns: list[int], mode: int) -> Tensor:
    """Return the hidden pairs of a packed (TND) batch: sequences do not see each other."""
    hidden = torch.ones(rows[-1], columns[-1], dtype=torch.bool, device=like.device)
    start_row = start_column = 0
    for row, column in zip(rows, columns, strict=True):
        sizes = (row - start_row, column - start_column)
        block = torch.zeros(sizes, dtype=torch.bool)
        block = hidden_positions(block, mode, *sizes, _FAR, _FAR)
        hidden[start_row:row, start_column:column] = block.to(like.device)
        start_row, start_column = row, column
    return hidden


@fused("npu", "npu_fusion_attention_core")
def _core(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pse: Tensor | None,
    hidden: Tensor | None,
    keep_mask: Tensor | None,
    head_num: int,
    layout: str,
    scale: float,
    keep_prob: float,
    pse_after_scale: bool,
    zero_hidden_rows: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    q = wide(to_heads(query, head_num, layout))
    # Grouped-query attention: keys have fewer heads, of the query's size.
    k, v = (wide(to_heads(t, key.shape[-1] // q.shape[-1], layout)) for t in (key, value))
    if k.shape[1] != head_num:
        k, v = (t.repeat_interleave(head_num // k.shape[1], 1) for t in (k, v))
    scores = q @ k.transpose(-1, -2)
    if pse is not None and not pse_after_scale:
        scores = scores + wide(pse)
    scores = scores * scale
    if pse is not None and pse_after_scale:
        scores = scores + wide(pse)
    if hidden is not None:
        scores = scores.masked_fill(hidden, _HIDDEN)
    top = scores.amax(-1, keepdim=True).detach()
    weights = (scores - top).exp()
    total = weights.sum(-1, keepdim=True)
    weights = weights / total
    if hidden is not None and zero_hidden_rows:
        weights = weights.masked_fill(hidden, 0.0)
    if keep_mask is not None:
        weights = weights * keep_mask / keep_prob
    result = from_heads((weights @ v).to(query.dtype), layout)
    # contiguous copies: a replay writes into them
    top, total = (t.detach().expand(*t.shape[:-1], 8).contiguous() for t in (top, total))
    return result, top, total


def npu_fusion_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    head_num: int,
    input_layout: str,
    pse: Tensor | None = None,
    padding_mask: Tensor | None = None,
    atten_mask: Tensor | None = None,
    scale: float = 1.0,
    keep_prob: float = 1.0,
    pre_tockens: int = _FAR,
    next_tockens: int = _FAR,
    inner_precise: int = 0,
    prefix: list[int] | None = None,
    actual_seq_qlen: list[int] | None = None,
    actual_seq_kvlen: list[int] | None = None,
    sparse_mode: int = 0,
    gen_mask_parallel: bool = True,
    sync: bool = False,
    softmax_layout: str = "",
    sink: Tensor | None = None,
    dropout_mask: Tensor | None = None,
    seed: int = 0,
    offset: int = 0,
    _pse_after_scale: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor, int, int, int]:
    """Return (attention, softmax_max, softmax_sum, empty, seed, offset, numels)."""
    _refuse(input_layout, sparse_mode, padding_mask, prefix, sink)
    rows, columns = (t.shape[input_layout.replace("T", "S").index("S")] for t in (query, key))
    hidden: Tensor | None = None
    if input_layout == "TND":
        if actual_seq_qlen is None or actual_seq_kvlen is None:
            raise BadInput(
                "npu_fusion_attention: layout TND needs actual_seq_qlen and actual_seq_kvlen"
            )
        hidden = sequence_mask(query, actual_seq_qlen, actual_seq_kvlen, sparse_mode)
    elif atten_mask is not None:
        hidden = hidden_positions(atten_mask, sparse_mode, rows, columns, pre_tockens, next_tockens)
    elif sparse_mode not in (0, 1):
        raise BadInput(
            f"npu_fusion_attention: sparse_mode={sparse_mode} needs atten_mask, found None"
        )
    keep_mask = dropout_mask
    if keep_prob < 1.0 and keep_mask is None:
        batch = 1 if input_layout == "TND" else query.shape[input_layout.index("B")]
        shape = (batch, head_num, rows, columns)
        keep_mask = torch.empty(shape, device=query.device).bernoulli_(keep_prob)
    result, top, total = _core(
        query, key, value, pse, hidden, keep_mask, head_num, input_layout, float(scale),
        float(keep_prob), _pse_after_scale, inner_precise == 2,
    )  # fmt: skip
    numels = 0 if keep_mask is None else keep_mask.numel()
    return result, top, total, torch.empty(0, device=query.device), seed, offset, numels


def npu_fusion_attention_v2(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    head_num: int,
    input_layout: str,
    *,
    query_rope: Tensor | None = None,
    key_rope: Tensor | None = None,
    pre_tokens: int = _FAR,
    next_tokens: int = _FAR,
    pse_type: int = 1,
    q_start_idx: list[int] | None = None,
    kv_start_idx: list[int] | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, int, int, int]:
    """:func:`npu_fusion_attention` with the same ``options``.

    ``pse_type`` 0 scales, then adds; 1 adds, then scales.
    """
    if pse_type not in (0, 1) or query_rope is not None or key_rope is not None:
        raise BadInput(
            "npu_fusion_attention_v2: porter's simulated module computes pse_type 0 and 1 without "
            f"rope inputs, found pse_type={pse_type}"
        )
    return npu_fusion_attention(
        query, key, value, head_num, input_layout, pre_tockens=pre_tokens,
        next_tockens=next_tokens, _pse_after_scale=pse_type == 0, **options,
    )  # fmt: skip


def npu_prompt_flash_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    padding_mask: Tensor | None = None,
    atten_mask: Tensor | None = None,
    pse_shift: Tensor | None = None,
    actual_seq_lengths: list[int] | None = None,
    deq_scale1: Tensor | None = None,
    quant_scale1: Tensor | None = None,
    deq_scale2: Tensor | None = None,
    quant_scale2: Tensor | None = None,
    quant_offset2: Tensor | None = None,
    num_heads: int = 1,
    scale_value: float = 1.0,
    pre_tokens: int = _FAR,
    next_tokens: int = 0,
    input_layout: str = "BSH",
    num_key_value_heads: int = 0,
    actual_seq_lengths_kv: list[int] | None = None,
    sparse_mode: int = 0,
) -> Tensor:
    """Attention over a whole prompt, for inference, without quantisation."""
    extras = (actual_seq_lengths, deq_scale1, quant_scale1, deq_scale2, quant_scale2)
    if any(e is not None for e in (*extras, quant_offset2, actual_seq_lengths_kv)):
        raise BadInput(
            "npu_prompt_flash_attention: porter's simulated module has no quantisation and no "
            "actual_seq_lengths; pad or leave them out"
        )
    # Unlike pse in training, pse_shift is added after the scaling.
    return npu_fusion_attention(
        query, key, value, num_heads, input_layout, pse_shift, padding_mask, atten_mask,
        scale_value, 1.0, pre_tokens, next_tokens, 0, None, None, None, sparse_mode,
        _pse_after_scale=True,
    )[0]  # fmt: skip


def _refuse(
    layout: str, mode: int, padding: Tensor | None, prefix: list[int] | None, sink: Tensor | None
) -> None:
    """Raise BadInput for what the card refuses or the simulated kernel does not compute."""
    if layout not in _AXES:
        raise BadInput(
            f"npu_fusion_attention: input_layout is {layout!r}, expected one of {tuple(_AXES)}"
        )
    if padding is not None:
        raise BadInput("npu_fusion_attention: padding_mask is not supported by the operator")
    if mode not in (0, 1, 2, 3, 4) or prefix is not None or sink is not None:
        raise BadInput(
            "npu_fusion_attention: porter's simulated module computes sparse_mode 0 to 4 without "
            f"prefix and sink, found sparse_mode={mode}"
        )
