"""Attention for inference in ``torch_npu``: paged caches, packed batches, merged parts.

Schemas: ``op_plugin/config/op_plugin_functions.yaml`` of Ascend/op-plugin (517f2e7d, August 2026);
formulas: its ``docs/zh/custom_APIs`` and ``test/test_custom_ops``. Masks hide where they are True.
Half precision is computed in float32 and rounded once; nothing is quantised here.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from porter.device.sim.ascend.attention import from_heads, to_heads
from porter.device.sim.vendors.fused_ops import kernel, wide
from porter.errors import BadInput

_FAR = 2147483647
_LAYOUTS = {
    "BSH": "BSH", "BSND": "BSND", "BNSD": "BNSD", "TND": "TND", "BNSD_BSND": "BNSD",
    "BSH_BNSD": "BSH", "BSND_BNSD": "BSND", "SBH": "SBH",
}  # fmt: skip
"""By layout, that of the operands; the part after an underscore is the result's."""


def _lengths(given: Any, batch: int, full: int, packed: bool) -> list[int]:
    """Return the length of each sequence: as given, or from the ends of packed sequences."""
    if given is None or not len(given):
        return [full] * batch
    values = [int(each) for each in given]
    if packed:
        return [end - start for start, end in zip([0, *values], values, strict=False)]
    return values * batch if len(values) == 1 else values


def _from_pages(cache: Tensor, table: Tensor, length: int, heads: int) -> Tensor:
    """Return (heads, length, head size) of a sequence whose blocks ``table`` lists.

    A cache is (blocks, block size, heads * size) or (blocks, heads, block size, size).
    """
    pages = cache[table.to(torch.int64)]
    if pages.dim() == 3:
        rows: Tensor = pages.flatten(0, 1)[:length].unflatten(-1, (heads, -1))
        return rows.transpose(0, 1)
    return pages.transpose(0, 1).flatten(1, 2)[:, :length]


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    hidden: Tensor | None,
    bias: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Return attention (heads, rows, size) and the scores' log-sum-exp (heads, rows, 1)."""
    shared = query.shape[0] // key.shape[0]
    key, value = (wide(t).repeat_interleave(shared, 0) for t in (key, value))
    scores = wide(query) @ key.transpose(-1, -2) * scale
    if bias is not None:
        scores = scores + wide(bias)
    if hidden is not None:
        scores = scores.masked_fill(hidden, -math.inf)
    lse = scores.logsumexp(-1, keepdim=True)
    weights = torch.where(lse == -math.inf, 0.0, (scores - lse).exp())
    return weights @ value, lse


def _hidden(
    mask: Tensor | None, batch: int, mode: int, rows: int, columns: int, before: int, after: int
) -> Tensor | None:
    """Return which positions are hidden: the mask's, and what ``sparse_mode`` says.

    0 and 1 take the mask as it is (0 with a band of ``before`` and ``after`` as well), 2 hides
    later positions from the first corner, 3 and 4 from the last one, 4 with a band.
    """
    own: Tensor | None = None
    if mask is not None and mode in (0, 1):
        own = mask.bool()
        if own.dim() == 4:
            own = own[batch if own.shape[0] > 1 else 0, 0]
        elif own.dim() == 3:
            own = own[batch if own.shape[0] > 1 else 0]
        own = own[:rows, :columns]
    if mode == 1 or (mode == 0 and (mask is None or (before >= columns and after >= columns))):
        return own
    if mode in (2, 3):
        before, after = _FAR, 0
    row = torch.arange(rows).unsqueeze(1) + (columns - rows if mode in (3, 4) else 0)
    column = torch.arange(columns).unsqueeze(0)
    band = (column > row + after) | (column < row - before)
    return band if own is None else own | band


def _infer(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    bias: Tensor | None,
    mask: Tensor | None,
    q_lengths: Any,
    k_lengths: Any,
    table: Tensor | None,
    query_rope: Tensor | None,
    key_rope: Tensor | None,
    heads: int,
    kv_heads: int,
    scale: float,
    before: int,
    after: int,
    layout: str,
    mode: int,
    with_lse: bool,
) -> tuple[Tensor, Tensor]:
    if layout not in _LAYOUTS:
        raise BadInput(
            f"npu_fused_infer_attention_score: input_layout is {layout!r}, expected one of "
            f"{', '.join(_LAYOUTS)}"
        )
    given, _, asked = layout.partition("_")
    kv_heads = kv_heads or heads
    if query_rope is not None and key_rope is not None:
        if given.endswith("H"):
            raise BadInput("npu_fused_infer_attention_score: rope operands need a layout with D")
        query = torch.cat((query, query_rope), -1)
    q = to_heads(query, heads, given)
    packed = given == "TND"
    batch = len(q_lengths or [0]) if packed else q.shape[0]
    rows = _lengths(q_lengths, batch, q.shape[2], packed)
    size = value.shape[-1] // (kv_heads if value.dim() == 3 and not packed else 1)
    if table is None:
        size = to_heads(value, kv_heads, given).shape[-1]
    result = q.new_zeros(*q.shape[:3], size)
    lse = q.new_full((*q.shape[:3], 1), math.inf, dtype=torch.float32)
    full = 0 if table is not None else to_heads(key, kv_heads, given).shape[2]
    columns = _lengths(k_lengths, batch, full, packed and table is None)
    start = k_start = 0
    for index in range(batch):
        place, at = (0, start) if packed else (index, 0)
        part = q[place, :, at : at + rows[index]]
        if table is not None:
            k, v = (_from_pages(c, table[index], columns[index], kv_heads) for c in (key, value))
            if key_rope is not None:
                rope = _from_pages(key_rope, table[index], columns[index], kv_heads)
                k = torch.cat((k, rope), -1)
        else:
            whole_k, whole_v = (to_heads(t, kv_heads, given) for t in (key, value))
            if key_rope is not None:
                whole_k = torch.cat((whole_k, to_heads(key_rope, kv_heads, given)), -1)
            k, v = (
                t[place, :, k_start : k_start + columns[index]] if packed
                else t[place, :, : columns[index]]
                for t in (whole_k, whole_v)
            )  # fmt: skip
        hidden = _hidden(mask, index, mode, rows[index], columns[index], before, after)
        added = None if bias is None else bias[min(index, bias.shape[0] - 1)]
        if added is not None:
            added = added[..., : rows[index], : columns[index]]
        found, sums = _attend(part, k, v, hidden, added, scale)
        result[place, :, at : at + rows[index]] = found.to(result.dtype)
        lse[place, :, at : at + rows[index]] = sums.float()
        start, k_start = start + rows[index], k_start + columns[index]
    out = from_heads(result, asked or given)
    if not with_lse:
        return out, lse.new_zeros(1)
    return out, (lse[0].transpose(0, 1).contiguous() if packed else lse)


def _refuse(name: str, options: dict[str, Any], known: frozenset[str]) -> None:
    """Raise BadInput for an operand that is given and not computed with."""
    given = sorted(
        key for key, value in options.items() if key not in known and isinstance(value, Tensor)
    )
    if given:
        raise BadInput(
            f"{name}: porter's operator has no {', '.join(given)}; it computes without "
            "quantisation, padding sizes, shared prefixes and sinks"
        )


_COMMON = frozenset(
    {"atten_mask", "pse_shift", "block_table", "query_rope", "key_rope", "workspace"}
)


def _fia(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """``softmax(scale * q k^T + pse_shift, hidden by atten_mask) v``; lse with its flag."""
    _refuse("npu_fused_infer_attention_score", options, _COMMON)
    return _infer(
        query, key, value,
        bias=options.get("pse_shift"), mask=options.get("atten_mask"),
        q_lengths=options.get("actual_seq_lengths"),
        k_lengths=options.get("actual_seq_lengths_kv"), table=options.get("block_table"),
        query_rope=options.get("query_rope"), key_rope=options.get("key_rope"),
        heads=options.get("num_heads", 1), kv_heads=options.get("num_key_value_heads", 0),
        scale=options.get("scale", 1.0), before=options.get("pre_tokens", _FAR),
        after=options.get("next_tokens", _FAR), layout=options.get("input_layout", "BSH"),
        mode=options.get("sparse_mode", 0), with_lse=options.get("softmax_lse_flag", False),
    )  # fmt: skip


def _fia_v2(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    _refuse("npu_fused_infer_attention_score_v2", options, _COMMON)
    return _infer(
        query, key, value,
        bias=options.get("pse_shift"), mask=options.get("atten_mask"),
        q_lengths=options.get("actual_seq_qlen"), k_lengths=options.get("actual_seq_kvlen"),
        table=options.get("block_table"), query_rope=options.get("query_rope"),
        key_rope=options.get("key_rope"), heads=options.get("num_query_heads", 1),
        kv_heads=options.get("num_key_value_heads", 0),
        scale=options.get("softmax_scale", 1.0), before=options.get("pre_tokens", _FAR),
        after=options.get("next_tokens", _FAR), layout=options.get("input_layout", "BSH"),
        mode=options.get("sparse_mode", 0), with_lse=options.get("return_softmax_lse", False),
    )  # fmt: skip


def _into(compute: Any) -> Any:
    def run(
        query: Tensor, key: Tensor, value: Tensor, *, attention_out: Tensor, softmax_lse: Tensor,
        **options: Any,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        made, lse = compute(query, key, value, **options)
        attention_out.copy_(made.view_as(attention_out))
        if softmax_lse.numel() == lse.numel():
            softmax_lse.copy_(lse.view_as(softmax_lse))
        return attention_out, softmax_lse

    return run


def _workspace(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    """Scratch memory for any lengths up to those given: one byte, nothing needs it here."""
    return query.new_empty(1, dtype=torch.uint8)


_QUERY = "Tensor query, Tensor key, Tensor value, *, "
_OUT = ", Tensor? workspace=None, Tensor(a!) attention_out, Tensor(b!) softmax_lse"


def _tensors(names: str) -> str:
    return ", ".join(f"Tensor? {name}=None" for name in names.split())


def _numbers(names: str) -> str:
    return ", ".join(f"int? {name}=None" for name in names.split())


_FIA = (
    _QUERY
    + _tensors("pse_shift atten_mask")
    + ", SymInt[]? actual_seq_lengths=None, SymInt[]? actual_seq_lengths_kv=None, "
    + _tensors(
        "dequant_scale1 quant_scale1 dequant_scale2 quant_scale2 quant_offset2 antiquant_scale "
        "antiquant_offset key_antiquant_scale key_antiquant_offset value_antiquant_scale "
        "value_antiquant_offset block_table query_padding_size kv_padding_size key_shared_prefix "
        "value_shared_prefix"
    )
    + ", SymInt[]? actual_shared_prefix_len=None, "
    + _tensors("query_rope key_rope key_rope_antiquant_scale")
    + ", int num_heads=1, float scale=1.0, int pre_tokens=2147483647, int next_tokens=2147483647, "
    'str input_layout="BSH", int num_key_value_heads=0, int sparse_mode=0, int inner_precise=0, '
    "int block_size=0, int antiquant_mode=0, int key_antiquant_mode=0, int value_antiquant_mode=0, "
    "bool softmax_lse_flag=False"
)
_FIA_V2 = (
    _QUERY
    + _tensors("query_rope key_rope pse_shift atten_mask")
    + ", SymInt[]? actual_seq_qlen=None, SymInt[]? actual_seq_kvlen=None, "
    + _tensors(
        "block_table dequant_scale_query dequant_scale_key dequant_offset_key "
        "dequant_scale_value dequant_offset_value dequant_scale_key_rope quant_scale_out "
        "quant_offset_out quant_scale_p learnable_sink"
    )
    + ", int num_query_heads=1, int num_key_value_heads=0, float softmax_scale=1.0, "
    "int pre_tokens=2147483647, int next_tokens=2147483647, "
    'str input_layout="BSH", int sparse_mode=0, int block_size=0, int query_quant_mode=0, '
    "int key_quant_mode=0, int value_quant_mode=0, int inner_precise=0, "
    "bool return_softmax_lse=False, "
    + _numbers(
        "query_dtype key_dtype value_dtype query_rope_dtype key_rope_dtype key_shared_prefix_dtype "
        "value_shared_prefix_dtype dequant_scale_query_dtype dequant_scale_key_dtype "
        "dequant_scale_value_dtype dequant_scale_key_rope_dtype out_dtype"
    )
)
npu_fused_infer_attention_score = kernel(
    f"npu::npu_fused_infer_attention_score({_FIA}) -> (Tensor, Tensor)"
)(_fia)
kernel(
    f"npu::npu_fused_infer_attention_score.out({_FIA}{_OUT}) -> (Tensor(a!), Tensor(b!))"
)(_into(_fia))  # fmt: skip
_npu_fused_infer_attention_score_get_max_workspace = kernel(
    f"npu::_npu_fused_infer_attention_score_get_max_workspace({_FIA}) -> Tensor"
)(_workspace)
npu_fused_infer_attention_score_v2 = kernel(
    f"npu::npu_fused_infer_attention_score_v2({_FIA_V2}) -> (Tensor, Tensor)"
)(_fia_v2)
kernel(
    f"npu::npu_fused_infer_attention_score_v2.out({_FIA_V2}{_OUT}) -> (Tensor(a!), Tensor(b!))"
)(_into(_fia_v2))  # fmt: skip
_npu_fused_infer_attention_score_v2_get_max_workspace = kernel(
    f"npu::_npu_fused_infer_attention_score_v2_get_max_workspace({_FIA_V2}) -> Tensor"
)(_workspace)


def _fill(cache: Tensor, rows: Tensor, slots: Tensor, mode: str) -> None:
    """Write one row per slot; a slot is block * block size + place, a negative one is skipped.

    "Norm" caches are (blocks, block size, heads, size); in "PA_NZ" the last two are split into
    sixteenths (32 for int8) that stand before the place: (blocks, heads * size / 16, block size,
    16).
    """
    slots = slots.to(torch.int64)
    kept = slots >= 0
    slots, rows = slots[kept], rows[kept]
    if mode == "PA_NZ":
        size, fraction = cache.shape[-2], cache.shape[-1]
        parts = rows.reshape(rows.shape[0], -1, fraction)
        cache[slots // size, :, slots % size] = parts.to(cache.dtype)
        return
    size = cache.shape[1]
    shape = cache.shape[2:]
    cache[slots // size, slots % size] = rows.reshape(-1, *shape).to(cache.dtype)


def _writes_only(*_: Any, **__: Any) -> None:
    """What an operator that only writes its arguments does with tensors without data."""


def _refuse_compressed(*options: Tensor | None) -> None:
    if any(option is not None for option in options):
        raise BadInput(
            "npu_scatter_pa_kv_cache: porter's operator has no compress_lens, "
            "compress_seq_offsets and seq_lens; leave them out"
        )


@kernel(
    "npu::npu_scatter_pa_kv_cache(Tensor key, Tensor value, Tensor(a!) key_cache, "
    "Tensor(b!) value_cache, Tensor slot_mapping, *, Tensor? compress_lens=None, "
    "Tensor? compress_seq_offsets=None, Tensor? seq_lens=None, str? cache_mode='PA_NZ') -> ()",
    meta=_writes_only,
)
def npu_scatter_pa_kv_cache(
    key: Tensor,
    value: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    slot_mapping: Tensor,
    *,
    compress_lens: Tensor | None = None,
    compress_seq_offsets: Tensor | None = None,
    seq_lens: Tensor | None = None,
    cache_mode: str | None = "PA_NZ",
) -> None:
    """Write each token's key and value (tokens, heads, size) into its slot of the paged caches."""
    _refuse_compressed(compress_lens, compress_seq_offsets, seq_lens)
    for cache, rows in ((key_cache, key), (value_cache, value)):
        _fill(cache, rows, slot_mapping, cache_mode or "PA_NZ")


@kernel(
    "npu::npu_scatter_pa_cache.value(Tensor key, Tensor slot_mapping, *, "
    "Tensor? compress_lens=None, Tensor? compress_seq_offsets=None, Tensor? seq_lens=None, "
    "Tensor(a!) key_cache) -> Tensor(a!)",
    meta=lambda *_, key_cache, **__: key_cache,
)
def npu_scatter_pa_cache(
    key: Tensor,
    slot_mapping: Tensor,
    *,
    compress_lens: Tensor | None = None,
    compress_seq_offsets: Tensor | None = None,
    seq_lens: Tensor | None = None,
    key_cache: Tensor,
) -> Tensor:
    """:func:`npu_scatter_pa_kv_cache` of the keys alone, in the "Norm" layout."""
    _refuse_compressed(compress_lens, compress_seq_offsets, seq_lens)
    _fill(key_cache, key, slot_mapping, "Norm")
    return key_cache


@kernel(
    "npu::npu_gather_pa_kv_cache(Tensor key_cache, Tensor value_cache, Tensor block_tables, "
    "Tensor seq_lens, Tensor(a!) key, Tensor(b!) value, *, Tensor? seq_offset=None, "
    "bool is_seq_lens_cumsum=False) -> ()",
    meta=_writes_only,
)
def npu_gather_pa_kv_cache(
    key_cache: Tensor,
    value_cache: Tensor,
    block_tables: Tensor,
    seq_lens: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    seq_offset: Tensor | None = None,
    is_seq_lens_cumsum: bool = False,
) -> None:
    """Write the sequences of paged caches one after the other into ``key`` and ``value``.

    ``seq_offset`` is the first token taken of each sequence, ``seq_lens`` how many (or their ends,
    from 0, with ``is_seq_lens_cumsum``). Caches are (blocks, block size, heads, size).
    """
    lengths = [int(each) for each in (seq_lens.diff() if is_seq_lens_cumsum else seq_lens)]
    at = 0
    for index, length in enumerate(lengths):
        first = 0 if seq_offset is None else int(seq_offset[index])
        table = block_tables[index].to(torch.int64)
        for cache, out in ((key_cache, key), (value_cache, value)):
            pages = -(-(first + length) // cache.shape[1])
            whole = cache[table[:pages]].flatten(0, 1)
            out[at : at + length] = whole[first : first + length].view_as(out[at : at + length])
        at += length


@kernel(
    "npu::npu_attention_update(Tensor[] lse, Tensor[] local_out, int update_type) "
    "-> (Tensor, Tensor)"
)
def npu_attention_update(
    lse: list[Tensor], local_out: list[Tensor], update_type: int
) -> tuple[Tensor, Tensor]:
    """Merge attention over parts of the keys: (rows, size) each, with log-sum-exps (rows,).

    The second result is the merged log-sum-exp with ``update_type`` 1; that it is empty with 0, and
    that +inf marks a part without keys, is our reading.
    """
    if update_type not in (0, 1):
        raise BadInput(f"npu_attention_update: update_type is {update_type}, expected 0 or 1")
    parts = torch.stack([each.float() for each in lse])
    parts = torch.where(parts == math.inf, -math.inf, parts)  # a part without keys
    whole = parts.logsumexp(0)
    share = torch.where(whole == -math.inf, 0.0, (parts - whole).exp())
    made = (torch.stack([each.float() for each in local_out]) * share.unsqueeze(-1)).sum(0)
    return made.to(local_out[0].dtype), whole if update_type else whole.new_empty(0)
