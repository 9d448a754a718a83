"""``npu_fusion_attention`` and variants: scaled dot-product attention with Ascend's layouts.

Documented formula (API reference of Ascend Extension for PyTorch, ``npu_fusion_attention``)::

    y = softmax(mask(scale * (pse + query @ key^T), atten_mask))
    attention = dropout(y, keep_prob) @ value

``atten_mask`` is True where a position is *hidden*, the opposite of PyTorch's boolean mask. The
softmax and both products accumulate in float32; only the result is rounded to the input's dtype.
"""

from __future__ import annotations

import torch
from torch import Tensor

from porter.device.sim.ascend.kernels import wide
from porter.device.sim.vendors.fused_ops import fused
from porter.errors import BadInput

LAYOUTS = ("BSH", "SBH", "BSND", "BNSD", "TND")
_HIDDEN = -3.0e38  # not -inf: a fully hidden row averages the values instead of giving NaN
_FAR = 2147483647


def to_heads(tensor: Tensor, heads: int, layout: str) -> Tensor:
    """Rearrange a query, key or value in ``layout`` to (batch, heads, sequence, head size)."""
    if layout == "BSH":
        return _split_heads(tensor, heads).transpose(1, 2)
    if layout == "SBH":
        return _split_heads(tensor, heads).permute(1, 2, 0, 3)
    if layout == "BSND":
        return tensor.transpose(1, 2)
    if layout == "TND":
        return tensor.transpose(0, 1).unsqueeze(0)
    return tensor


def _split_heads(tensor: Tensor, heads: int) -> Tensor:
    return tensor.reshape(*tensor.shape[:-1], heads, -1)


def from_heads(tensor: Tensor, layout: str) -> Tensor:
    """Invert :func:`to_heads`."""
    if layout == "BSH":
        return tensor.transpose(1, 2).flatten(2)
    if layout == "SBH":
        return tensor.permute(2, 0, 1, 3).flatten(2)
    if layout == "BSND":
        return tensor.transpose(1, 2).contiguous()
    if layout == "TND":
        return tensor.squeeze(0).transpose(0, 1).contiguous()
    return tensor


def key_heads(tensor: Tensor, query: Tensor, heads: int, layout: str) -> int:
    """Return a key's number of heads: fewer than the query's in grouped-query attention."""
    if layout in ("BSND", "TND"):
        return tensor.shape[-2]
    if layout == "BNSD":
        return tensor.shape[1]
    return tensor.shape[-1] // (query.shape[-1] // heads)


def hidden_positions(
    mask: Tensor | None, mode: int, rows: int, columns: int, before: int, after: int
) -> Tensor | None:
    """Return which (row, column) pairs ``sparse_mode`` hides, or None for none."""
    if mode in (0, 1):
        if mask is None:
            return None
        hidden = mask.bool()
        if mode == 0 and (before < columns or after < rows):
            hidden = hidden | _outside(mask, rows, columns, before, after, 0)
        return hidden
    if mask is None:
        raise BadInput(f"npu_fusion_attention: sparse_mode={mode} needs atten_mask, found None")
    shift = 0 if mode == 2 else columns - rows
    if mode == 4:
        return _outside(mask, rows, columns, before, after, shift)
    return _outside(mask, rows, columns, _FAR, 0, shift)


def _outside(like: Tensor, rows: int, columns: int, before: int, after: int, shift: int) -> Tensor:
    row = torch.arange(rows, device=like.device).unsqueeze(1) + shift
    column = torch.arange(columns, device=like.device).unsqueeze(0)
    return (column > row + after) | (column < row - before)


def _sequence_mask(like: Tensor, rows: list[int], columns: list[int], mode: int) -> Tensor:
    """Return the hidden pairs of a packed (TND) batch: sequences do not see each other."""
    hidden = torch.ones(rows[-1], columns[-1], dtype=torch.bool, device=like.device)
    start_row = start_column = 0
    for row, column in zip(rows, columns, strict=True):
        block = torch.zeros(row - start_row, column - start_column, dtype=torch.bool)
        if mode in (2, 3):
            shift = 0 if mode == 2 else block.shape[1] - block.shape[0]
            block = _outside(block, block.shape[0], block.shape[1], _FAR, 0, shift)
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
    kv_heads = key_heads(key, query, head_num, layout)
    q = wide(to_heads(query, head_num, layout))
    k, v = (wide(to_heads(t, kv_heads, layout)) for t in (key, value))
    if kv_heads != head_num:
        k, v = (t.repeat_interleave(head_num // kv_heads, 1) for t in (k, v))
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
    del gen_mask_parallel, sync, softmax_layout
    _refuse(input_layout, sparse_mode, padding_mask, prefix, sink)
    rows, columns = _lengths(query, key, input_layout)
    if input_layout == "TND":
        if actual_seq_qlen is None or actual_seq_kvlen is None:
            raise BadInput(
                "npu_fusion_attention: layout TND needs actual_seq_qlen and actual_seq_kvlen"
            )
        hidden: Tensor | None = _sequence_mask(
            query, actual_seq_qlen, actual_seq_kvlen, sparse_mode
        )
    else:
        hidden = hidden_positions(atten_mask, sparse_mode, rows, columns, pre_tockens, next_tockens)
    keep_mask = dropout_mask
    if keep_prob < 1.0 and keep_mask is None:
        heads_first = to_heads(query, head_num, input_layout)
        shape = (heads_first.shape[0], head_num, rows, columns)
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
    pse: Tensor | None = None,
    padding_mask: Tensor | None = None,
    atten_mask: Tensor | None = None,
    query_rope: Tensor | None = None,
    key_rope: Tensor | None = None,
    scale: float = 1.0,
    keep_prob: float = 1.0,
    pre_tokens: int = _FAR,
    next_tokens: int = _FAR,
    inner_precise: int = 0,
    prefix: list[int] | None = None,
    actual_seq_qlen: list[int] | None = None,
    actual_seq_kvlen: list[int] | None = None,
    sparse_mode: int = 0,
    gen_mask_parallel: bool = True,
    sync: bool = False,
    pse_type: int = 1,
    q_start_idx: list[int] | None = None,
    kv_start_idx: list[int] | None = None,
    softmax_layout: str = "",
    sink: Tensor | None = None,
    dropout_mask: Tensor | None = None,
    seed: int = 0,
    offset: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor, int, int, int]:
    """:func:`npu_fusion_attention`; ``pse_type`` 0 scales, then adds; 1 adds, then scales."""
    if pse_type not in (0, 1) or query_rope is not None or key_rope is not None:
        raise BadInput(
            "npu_fusion_attention_v2: porter's simulated module computes pse_type 0 and 1 without "
            f"rope inputs, found pse_type={pse_type}"
        )
    del q_start_idx, kv_start_idx
    return npu_fusion_attention(
        query, key, value, head_num, input_layout, pse, padding_mask, atten_mask, scale, keep_prob,
        pre_tokens, next_tokens, inner_precise, prefix, actual_seq_qlen, actual_seq_kvlen,
        sparse_mode, gen_mask_parallel, sync, softmax_layout, sink, dropout_mask, seed, offset,
        _pse_after_scale=pse_type == 0,
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
    del num_key_value_heads
    # Unlike pse in training, pse_shift is added after the scaling.
    return npu_fusion_attention(
        query, key, value, num_heads, input_layout, pse_shift, padding_mask, atten_mask,
        scale_value, 1.0, pre_tokens, next_tokens, 0, None, None, None, sparse_mode,
        _pse_after_scale=True,
    )[0]  # fmt: skip


def _lengths(query: Tensor, key: Tensor, layout: str) -> tuple[int, int]:
    axis = {"BSH": 1, "SBH": 0, "BSND": 1, "BNSD": 2, "TND": 0}[layout]
    return query.shape[axis], key.shape[axis]


def _refuse(
    layout: str, mode: int, padding: Tensor | None, prefix: list[int] | None, sink: Tensor | None
) -> None:
    """Raise BadInput for what the card refuses or the simulated kernel does not compute."""
    if layout not in LAYOUTS:
        raise BadInput(
            f"npu_fusion_attention: input_layout is {layout!r}, expected one of {LAYOUTS}"
        )
    if padding is not None:
        raise BadInput("npu_fusion_attention: padding_mask is not supported by the operator")
    if mode not in (0, 1, 2, 3, 4) or prefix is not None or sink is not None:
        raise BadInput(
            "npu_fusion_attention: porter's simulated module computes sparse_mode 0 to 4 without "
            f"prefix and sink, found sparse_mode={mode}"
        )
