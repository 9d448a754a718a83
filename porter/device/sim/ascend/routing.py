"""Experts' routing, rotary embeddings and sampling of ``torch_npu``.

Schemas: ``op_plugin/config/op_plugin_functions.yaml`` of Ascend/op-plugin (517f2e7d, August 2026);
formulas: its ``docs/zh/custom_APIs`` and ``test/test_custom_ops``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from porter.device.sim.vendors.fused_ops import kernel, quarter_turn, wide
from porter.errors import BadInput


@kernel(
    "npu::npu_moe_gating_top_k_softmax(Tensor x, Tensor? finished=None, int k=1) "
    "-> (Tensor, Tensor, Tensor)"
)
def npu_moe_gating_top_k_softmax(
    x: Tensor, finished: Tensor | None = None, k: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the k largest softmax values of each row, their experts, and places in the copies.

    A finished row gets the number of experts for its expert. The places count copies first, rows
    second: ``copy * rows + row``. Both are int32.
    """
    values, experts = wide(x).softmax(-1).topk(k, -1)
    if finished is not None:
        experts = experts.masked_fill(finished.bool().unsqueeze(-1), x.shape[-1])
    rows = experts.flatten(0, -2).shape[0]
    places = torch.arange(rows * k, device=x.device).view(k, rows).t().reshape(experts.shape)
    return values.to(x.dtype), experts.to(torch.int32), places.to(torch.int32).contiguous()


def _order(indices: Tensor) -> Tensor:
    """Return which copy (row * k + choice) stands at each place, sorted by expert, stable."""
    return indices.flatten().argsort(stable=True)


@kernel(
    "npu::npu_moe_token_permute(Tensor tokens, Tensor indices, int? num_out_tokens=None, "
    "bool padded_mode=False) -> (Tensor, Tensor)"
)
def npu_moe_token_permute(
    tokens: Tensor, indices: Tensor, num_out_tokens: int | None = None, padded_mode: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the copies of the tokens by expert, and the place of each copy (int32)."""
    if padded_mode:
        raise BadInput("npu_moe_token_permute: padded_mode=True is not supported")
    order = _order(indices)
    choices = indices.shape[-1] if indices.dim() > 1 else 1
    kept = order if not num_out_tokens else order[:num_out_tokens]
    return tokens[kept // choices], order.argsort().to(torch.int32)


@kernel(
    "npu::npu_moe_token_unpermute(Tensor permuted_tokens, Tensor sorted_indices, "
    "Tensor? probs=None, bool padded_mode=False, int[]? restore_shape=None) -> Tensor"
)
def npu_moe_token_unpermute(
    permuted_tokens: Tensor,
    sorted_indices: Tensor,
    probs: Tensor | None = None,
    padded_mode: bool = False,
    restore_shape: list[int] | None = None,
) -> Tensor:
    """Undo :func:`npu_moe_token_permute`: the sum of each token's copies, weighted by ``probs``."""
    if padded_mode:
        raise BadInput("npu_moe_token_unpermute: padded_mode=True is not supported")
    place = sorted_indices.to(torch.int64)
    held = place < permuted_tokens.shape[0]
    copies = permuted_tokens[place.clamp(max=permuted_tokens.shape[0] - 1)]
    copies = wide(copies) * held.unsqueeze(-1)
    if probs is None:
        return copies.to(permuted_tokens.dtype)
    weighted: Tensor = copies.unflatten(0, (-1, probs.shape[-1])) * wide(probs).unsqueeze(-1)
    return weighted.sum(1).to(permuted_tokens.dtype)


@kernel(
    "npu::npu_moe_init_routing_v2(Tensor x, Tensor expert_idx, *, Tensor? scale=None, "
    "Tensor? offset=None, int active_num=-1, int expert_capacity=-1, int expert_num=-1, "
    "int drop_pad_mode=0, int expert_tokens_num_type=0, bool expert_tokens_num_flag=False, "
    "int quant_mode=-1, int[2] active_expert_range=[], int row_idx_type=0, int? x_dtype=None) "
    "-> (Tensor, Tensor, Tensor, Tensor)"
)
def npu_moe_init_routing_v2(
    x: Tensor,
    expert_idx: Tensor,
    *,
    scale: Tensor | None = None,
    offset: Tensor | None = None,
    active_num: int = -1,
    expert_capacity: int = -1,
    expert_num: int = -1,
    drop_pad_mode: int = 0,
    expert_tokens_num_type: int = 0,
    expert_tokens_num_flag: bool = False,
    quant_mode: int = -1,
    active_expert_range: list[int] | None = None,
    row_idx_type: int = 0,
    x_dtype: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return copies of the tokens by expert, their places, the experts' counts, and scales.

    Copies of experts outside ``active_expert_range`` stand last; their rows are zeros and their
    place is -1. Counts are int64: their running sum (type 0) or themselves (type 1). ``quant_mode``
    1 rounds each copy to int8 with a scale of its own (float32), after ``scale`` of its expert;
    else the scales are those given, or empty.
    """
    if drop_pad_mode or expert_tokens_num_type not in (0, 1) or quant_mode not in (-1, 1):
        raise BadInput(
            "npu_moe_init_routing_v2: porter's operator computes drop_pad_mode 0, "
            "expert_tokens_num_type 0 and 1, quant_mode -1 and 1"
        )
    first, last = active_expert_range or (0, expert_num)
    chosen = expert_idx.flatten().to(torch.int64)
    active = (chosen >= first) & (chosen < last)
    order = torch.where(active, chosen, last).argsort(stable=True)
    held = active[order]
    rows = order // expert_idx.shape[-1]
    copies = wide(x)[rows] * held.unsqueeze(-1)
    scales = copies.new_empty(0, dtype=torch.float32)
    if quant_mode == 1:
        if scale is not None:
            place = (chosen[order] - first).clamp(0, scale.shape[0] - 1)
            copies = copies * wide(scale)[place]
        scales = (copies.abs().amax(-1) / 127.0).float()
        safe = torch.where(scales == 0, 1.0, scales).unsqueeze(-1)
        made = (copies / safe).round().to(torch.int8)
    else:
        made = copies.to(x.dtype)
        if scale is not None:
            scales = wide(scale).flatten()[rows].float() * held
    experts = torch.arange(first, last, device=x.device)
    counts = (chosen.unsqueeze(-1) == experts).sum(0)
    counts = counts.cumsum(0) if expert_tokens_num_type == 0 else counts
    places = order.argsort() if row_idx_type == 0 else order
    reached = active if row_idx_type == 0 else held
    places = torch.where(reached, places, -1).to(torch.int32)
    if 0 < active_num < made.shape[0]:
        made = made[:active_num]
    return made, places, counts.to(torch.int64), scales


@kernel(
    "npu::npu_clipped_swiglu(Tensor x, *, Tensor? group_index=None, int dim=-1, "
    "float alpha=1.702, float limit=7.0, float bias=1.0, bool interleaved=True) -> Tensor"
)
def npu_clipped_swiglu(
    x: Tensor,
    *,
    group_index: Tensor | None = None,
    dim: int = -1,
    alpha: float = 1.702,
    limit: float = 7.0,
    bias: float = 1.0,
    interleaved: bool = True,
) -> Tensor:
    """Return ``g * sigmoid(alpha * g) * (u + bias)`` with g at most ``limit`` and u within it.

    g and u are neighbours (``interleaved``) or halves along ``dim``. Rows behind the sum of
    ``group_index`` are zeros.
    """
    dim = dim % x.dim()
    flat = wide(x).flatten(dim) if dim < x.dim() - 1 else wide(x)
    gate, up = (flat[..., ::2], flat[..., 1::2]) if interleaved else flat.chunk(2, -1)
    gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    made = gate * torch.sigmoid(alpha * gate) * (up + bias)
    if group_index is not None:
        rows = torch.arange(made.flatten(0, -2).shape[0], device=x.device).view(made.shape[:-1])
        made = made * (rows < group_index.sum()).unsqueeze(-1)
    shape = list(x.shape)
    shape[dim] //= 2
    return made.reshape(shape).to(x.dtype)


@kernel("npu::npu_interleave_rope(Tensor x, Tensor cos, Tensor sin) -> Tensor")
def npu_interleave_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of neighbours, whose result has them in halves: (batch, heads, rows, 64)."""
    halves = torch.cat((wide(x)[..., ::2], wide(x)[..., 1::2]), -1)
    return (halves * wide(cos) + quarter_turn(halves, pairwise=False) * wide(sin)).to(x.dtype)


@kernel(
    "npu::npu_apply_rotary_pos_emb(Tensor query, Tensor key, Tensor cos, Tensor sin, "
    "str layout='BSND', str rotary_mode='half') -> (Tensor, Tensor)"
)
def npu_apply_rotary_pos_emb(
    query: Tensor,
    key: Tensor,
    cos: Tensor,
    sin: Tensor,
    layout: str = "BSND",
    rotary_mode: str = "half",
) -> tuple[Tensor, Tensor]:
    """Return rotary embedding of query and key; in "half" mode halves turn, else neighbours."""
    turn = rotary_mode != "half"

    def embedded(values: Tensor) -> Tensor:
        full, size = wide(values), cos.shape[-1]
        turning = full[..., :size]
        made = turning * wide(cos) + quarter_turn(turning, pairwise=turn) * wide(sin)
        return torch.cat((made, full[..., size:]), -1).to(values.dtype)

    return embedded(query), embedded(key)


@kernel("npu::npu_top_k_top_p(Tensor logits, Tensor? p=None, Tensor? k=None) -> Tensor")
def npu_top_k_top_p(logits: Tensor, p: Tensor | None = None, k: Tensor | None = None) -> Tensor:
    """Return the logits with -inf outside each row's k largest and its nucleus of weight p."""
    ordered, places = wide(logits).sort(-1)
    if k is not None:
        last = ordered.shape[-1] - k.to(torch.int64).clamp(1, ordered.shape[-1])
        ordered = ordered.masked_fill(ordered < ordered.gather(-1, last.unsqueeze(-1)), -torch.inf)
    if p is not None:
        below = ordered.softmax(-1).cumsum(-1) <= 1 - wide(p).unsqueeze(-1)
        below[..., -1] = False
        ordered = ordered.masked_fill(below, -torch.inf)
    return torch.empty_like(ordered).scatter_(-1, places, ordered).to(logits.dtype)
