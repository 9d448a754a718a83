"""The gradient of ``npu_fusion_attention`` as a function of its own, as rings of devices call it.

Schemas: ``op_plugin/config/op_plugin_functions.yaml`` of Ascend/op-plugin (517f2e7d, August 2026);
formulas: FlashAttention (Dao et al., 2022), whose statistics it takes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from porter.device.sim.ascend.attention import (
    from_heads,
    hidden_positions,
    sequence_mask,
    to_heads,
)
from porter.device.sim.vendors.fused_ops import kernel, wide
from porter.errors import BadInput


def npu_fusion_attention_grad(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dy: Tensor,
    head_num: int,
    input_layout: str,
    *,
    pse: Tensor | None = None,
    padding_mask: Tensor | None = None,
    atten_mask: Tensor | None = None,
    softmax_max: Tensor | None = None,
    softmax_sum: Tensor | None = None,
    softmax_in: Tensor | None = None,
    attention_in: Tensor | None = None,
    scale_value: float = 1.0,
    keep_prob: float = 1.0,
    pre_tockens: int = 2147483647,
    next_tockens: int = 2147483647,
    inner_precise: int = 0,
    seed: int = 0,
    offset: int = 0,
    numels: int = 0,
    prefix: list[int] | None = None,
    actual_seq_qlen: list[int] | None = None,
    actual_seq_kvlen: list[int] | None = None,
    sparse_mode: int = 0,
    gen_mask_parallel: bool = True,
    sync: bool = False,
    softmax_layout: str = "",
    sink: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of query, key, value, pse (none is computed) and sink.

    With ``softmax_max``, ``softmax_sum`` and ``attention_in`` the weights are those of these
    statistics, as in a ring of which the operands are a part: ``p = exp(s - max) / sum``, ``ds = p
    (dy v^T - sum(dy attention))``. Else they are computed from the operands.
    """
    if keep_prob < 1.0 or pse is not None or sink is not None or prefix is not None:
        raise BadInput(
            "npu_fusion_attention_grad: porter's operator has no dropout (keep_prob below 1), pse, "
            "sink and prefix; call npu_fusion_attention and backward"
        )
    shape = input_layout.replace("T", "S").index("S")
    hidden = None
    if actual_seq_qlen is not None and actual_seq_kvlen is not None:
        hidden = sequence_mask(query, actual_seq_qlen, actual_seq_kvlen, sparse_mode)
    elif atten_mask is not None:
        hidden = hidden_positions(
            atten_mask, sparse_mode, query.shape[shape], key.shape[shape], pre_tockens, next_tockens
        )
    found = _attention_grad(
        query, key, value, dy, hidden, softmax_max, softmax_sum, attention_in, head_num,
        input_layout, float(scale_value),
    )  # fmt: skip
    empty = query.new_empty(0)
    return (*found, empty, empty.clone())


@kernel(
    "npu::npu_fusion_attention_grad_core(Tensor query, Tensor key, Tensor value, Tensor dy, "
    "Tensor? hidden, Tensor? top, Tensor? total, Tensor? attention, int heads, str layout, "
    "float scale) -> (Tensor, Tensor, Tensor)"
)
def _fusion_attention_grad(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dy: Tensor,
    hidden: Tensor | None,
    top: Tensor | None,
    total: Tensor | None,
    attention: Tensor | None,
    heads: int,
    layout: str,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    q, slope = (wide(to_heads(t, heads, layout)) for t in (query, dy))
    own = key.shape[-1] // q.shape[-1] if layout.endswith("H") else 0
    k, v = (wide(to_heads(t, own, layout)) for t in (key, value))
    shared = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(shared, 1) for t in (k, v))
    scores = q @ k.transpose(-1, -2) * scale
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    if top is None or total is None or attention is None:
        weights = scores.softmax(-1).nan_to_num(0.0)
        result = weights @ v
    else:
        largest, sums = (_statistic(t, q) for t in (top, total))
        weights = (scores - largest).exp() / sums
        result = wide(to_heads(attention, heads, layout))
    inner = (slope * result).sum(-1, keepdim=True)
    change = weights * (slope @ v.transpose(-1, -2) - inner) * scale
    grads = (change @ k, change.transpose(-1, -2) @ q, weights.transpose(-1, -2) @ slope)
    made = []
    for grad, like in zip(grads, (query, key, value), strict=True):
        if like is not query and shared > 1:
            grad = grad.unflatten(1, (-1, shared)).sum(2)
        made.append(from_heads(grad.to(like.dtype), layout).clone())
    return made[0], made[1], made[2]


def _statistic(values: Tensor, query: Tensor) -> Tensor:
    """Return a softmax statistic as (batch, heads, rows, 1); the vendor repeats it eight times."""
    one = values[..., :1].float()
    if one.dim() == 3:  # packed: (tokens, heads, 8)
        one = one.transpose(0, 1).unsqueeze(0)
    return one.view(*query.shape[:3], 1)


_attention_grad = torch.ops.npu.npu_fusion_attention_grad_core
