"""``torch.ops.hpu.mixture_of_experts`` and the block softmax of paged attention.

The experts' schemas are those of HabanaAI/gaudi-pytorch-bridge 1.19.0 and their formula that of its
``test_hpu_mixture_of_experts.py``. ``chunk_size``, ``total_experts`` and the block softmax are of
later releases, which are not published: names, order and meaning are read from the calls in
vllm-gaudi (``extension/ops.py``), which computes the same in plain torch where the kernels are
missing. So are the two overloads in float8, whose names are porter's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from porter.device.sim.habana.fp8 import quantized
from porter.device.sim.vendors.fused_ops import kernel, wide

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu, "relu": F.relu, "silu": F.silu,
}  # fmt: skip


def _experts(
    hidden: Tensor,
    table: Tensor,
    router: Tensor,
    weights: Sequence[tuple[Tensor, Tensor, Tensor]],
    permuted: bool,
    activation: str,
    first: int,
    last: int,
    result_dtype: torch.dtype | None = None,
    inner_scales: Sequence[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the experts' weighted sum and the largest inner value of each expert (float32).

    ``hidden`` is (tokens, hidden size), ``table`` and ``router`` (tokens, k). Inner values are
    rounded to the dtype of ``hidden`` after each product and the activation, as the vendor's test
    computes them. Tokens whose expert is outside ``first`` to ``last`` get nothing of it. With
    ``inner_scales``, one per expert, inner values are divided by them and rounded to 8 bits between
    the products.
    """
    if activation not in _ACTIVATIONS:
        raise RuntimeError(
            f'Activation "{activation}" not found among MoeActivationMode_t enum values.'
        )

    def rounded(values: Tensor) -> Tensor:
        return wide(values.to(hidden.dtype))

    tokens = wide(hidden)
    total = torch.zeros_like(tokens)
    largest = []
    for place, (index, matrices) in enumerate(zip(range(first, last + 1), weights, strict=False)):
        gate, up, down = (wide(m.t() if permuted else m) for m in matrices)
        gated = rounded(_ACTIVATIONS[activation](rounded(tokens @ gate)))
        inner = rounded(gated * rounded(tokens @ up))
        largest.append(inner.amax().float())
        if inner_scales is not None:
            step = inner_scales[place].float()
            inner = quantized(inner / step, torch.float8_e4m3fn).float() * step
        share = torch.where(table == index, wide(router), 0.0).sum(-1, keepdim=True)
        # Not share * out alone: what an expert makes of tokens that are not its own may be inf.
        total = total + torch.where(share != 0, share * (inner @ down), 0.0)
    return total.to(result_dtype or hidden.dtype), torch.stack(largest)


def _halves(
    w12: Sequence[Tensor], w3: Sequence[Tensor], permuted: bool
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return the three matrices of each expert, of which the first two are joined."""
    made = []
    for joined, down in zip(w12, w3, strict=True):
        gate, up = joined.chunk(2, 0 if permuted else 1)
        made.append((gate, up, down))
    return made


_START = "Tensor hidden_states, Tensor expert_routing_table, Tensor router_weights"
_END = "bool permuted_weights, str activation, int experts_min, int experts_max"
_LATER = "*, int chunk_size=0, int total_experts=0"


@kernel(
    f"hpu::mixture_of_experts({_START}, Tensor[] w1, Tensor[] w2, Tensor[] w3, {_END}, {_LATER})"
    " -> Tensor"
)
def mixture_of_experts(
    hidden_states: Tensor,
    expert_routing_table: Tensor,
    router_weights: Tensor,
    w1: list[Tensor],
    w2: list[Tensor],
    w3: list[Tensor],
    permuted_weights: bool,
    activation: str,
    experts_min: int,
    experts_max: int,
    *,
    chunk_size: int = 0,
    total_experts: int = 0,
) -> Tensor:
    """Return the sum over the routed experts of ``router * (act(x w1) * (x w2)) w3``."""
    return _experts(
        hidden_states, expert_routing_table, router_weights, list(zip(w1, w2, w3, strict=True)),
        permuted_weights, activation, experts_min, experts_max,
    )[0]  # fmt: skip


@kernel(
    f"hpu::mixture_of_experts.fused_weights({_START}, Tensor[] w12, Tensor[] w3, {_END}, {_LATER})"
    " -> Tensor"
)
def _fused_weights(
    hidden_states: Tensor,
    expert_routing_table: Tensor,
    router_weights: Tensor,
    w12: list[Tensor],
    w3: list[Tensor],
    permuted_weights: bool,
    activation: str,
    experts_min: int,
    experts_max: int,
    *,
    chunk_size: int = 0,
    total_experts: int = 0,
) -> Tensor:
    return _experts(
        hidden_states, expert_routing_table, router_weights, _halves(w12, w3, permuted_weights),
        permuted_weights, activation, experts_min, experts_max,
    )[0]  # fmt: skip


@kernel(
    f"hpu::mixture_of_experts.fp8_measurement({_START}, Tensor[] w1, Tensor[] w2, Tensor[] w3, "
    f"{_END}, bool measurement_mode) -> (Tensor, Tensor)"
)
def _measurement(
    hidden_states: Tensor,
    expert_routing_table: Tensor,
    router_weights: Tensor,
    w1: list[Tensor],
    w2: list[Tensor],
    w3: list[Tensor],
    permuted_weights: bool,
    activation: str,
    experts_min: int,
    experts_max: int,
    measurement_mode: bool,
) -> tuple[Tensor, Tensor]:
    return _experts(
        hidden_states, expert_routing_table, router_weights, list(zip(w1, w2, w3, strict=True)),
        permuted_weights, activation, experts_min, experts_max,
    )  # fmt: skip


@kernel(
    f"hpu::mixture_of_experts.fp8_measurement_fused_weights({_START}, Tensor[] w12, Tensor[] w3, "
    f"{_END}, bool measurement_mode) -> (Tensor, Tensor)"
)
def _measurement_fused(
    hidden_states: Tensor,
    expert_routing_table: Tensor,
    router_weights: Tensor,
    w12: list[Tensor],
    w3: list[Tensor],
    permuted_weights: bool,
    activation: str,
    experts_min: int,
    experts_max: int,
    measurement_mode: bool,
) -> tuple[Tensor, Tensor]:
    return _experts(
        hidden_states, expert_routing_table, router_weights, _halves(w12, w3, permuted_weights),
        permuted_weights, activation, experts_min, experts_max,
    )  # fmt: skip


def _scaled(weight: Tensor, scale: Tensor, permuted: bool, block: int = 0) -> Tensor:
    """Return what an 8-bit weight stands for: a scale per tensor, output channel, or block.

    The output channel is dimension 0 of a permuted weight, else dimension 1.
    """
    factor = scale.float()
    if block:
        factor = factor.repeat_interleave(block, 0).repeat_interleave(block, 1)
        factor = factor[: weight.shape[0], : weight.shape[1]]
    elif factor.numel() > 1:
        factor = factor.reshape((-1, 1) if permuted else (1, -1))
    return weight.float() * factor


@kernel(
    f"hpu::mixture_of_experts.fp8({_START}, Tensor[] w12, Tensor[] w3, "
    f"Tensor d_scale_hidden_states, Tensor[] d_scale_w12, Tensor[] d_scale_w3, {_END}, *, "
    "Tensor[]? d_scale_intermediate_hidden_states=None, int chunk_size=0, int total_experts=0)"
    " -> Tensor"
)
def _fp8_experts(
    hidden_states: Tensor,
    expert_routing_table: Tensor,
    router_weights: Tensor,
    w12: list[Tensor],
    w3: list[Tensor],
    d_scale_hidden_states: Tensor,
    d_scale_w12: list[Tensor],
    d_scale_w3: list[Tensor],
    permuted_weights: bool,
    activation: str,
    experts_min: int,
    experts_max: int,
    *,
    d_scale_intermediate_hidden_states: list[Tensor] | None = None,
    chunk_size: int = 0,
    total_experts: int = 0,
) -> Tensor:
    """Experts in float8: scales of the tokens, and of each output channel of the weights.

    Without a scale for the inner values they are not rounded. Our reading of vllm-gaudi's calls.
    """
    joined = [_scaled(w, s, permuted_weights) for w, s in zip(w12, d_scale_w12, strict=True)]
    down = [_scaled(w, s, permuted_weights) for w, s in zip(w3, d_scale_w3, strict=True)]
    scale = d_scale_hidden_states.float()
    tokens = hidden_states.float() * (scale.reshape(-1, 1) if scale.numel() > 1 else scale)
    return _experts(
        tokens, expert_routing_table, router_weights, _halves(joined, down, permuted_weights),
        permuted_weights, activation, experts_min, experts_max,
        router_weights.dtype, d_scale_intermediate_hidden_states,
    )[0]  # fmt: skip


@kernel(
    f"hpu::mixture_of_experts.fp8_blocks({_START}, Tensor[] w1, Tensor[] w2, Tensor[] w3, "
    f"Tensor[] d_scale_w1, Tensor[] d_scale_w2, Tensor[] d_scale_w3, {_END}, int block_size)"
    " -> Tensor"
)
def _fp8_blocks(
    hidden_states: Tensor,
    expert_routing_table: Tensor,
    router_weights: Tensor,
    w1: list[Tensor],
    w2: list[Tensor],
    w3: list[Tensor],
    d_scale_w1: list[Tensor],
    d_scale_w2: list[Tensor],
    d_scale_w3: list[Tensor],
    permuted_weights: bool,
    activation: str,
    experts_min: int,
    experts_max: int,
    block_size: int,
) -> Tensor:
    """Experts whose float8 weights have a scale per square block; tokens are not rounded.

    Our reading of optimum-habana's call (``modeling_deepseek_v3.py``).
    """
    scaled = [
        [_scaled(w, s, permuted_weights, block_size) for w, s in zip(ws, scales, strict=True)]
        for ws, scales in ((w1, d_scale_w1), (w2, d_scale_w2), (w3, d_scale_w3))
    ]
    return _experts(
        hidden_states, expert_routing_table, router_weights, list(zip(*scaled, strict=True)),
        permuted_weights, activation, experts_min, experts_max,
    )[0]  # fmt: skip


@kernel(
    "hpu::block_softmax(Tensor attn, Tensor? block_bias, Tensor block_groups) "
    "-> (Tensor, Tensor, Tensor)"
)
def block_softmax(
    attn: Tensor, block_bias: Tensor | None, block_groups: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``exp(attn + bias - max)`` of each block's rows, maxima and sums (our reading).

    ``attn`` is (blocks, heads, ..., block size); the maxima and sums keep a last dimension of 1.
    """
    scores = wide(attn) if block_bias is None else wide(attn) + wide(block_bias)
    largest = scores.amax(-1, keepdim=True)
    weights = (scores - largest).exp()
    total = weights.sum(-1, keepdim=True)
    return weights.to(attn.dtype), largest.to(attn.dtype), total.to(attn.dtype)


@kernel(
    "hpu::block_softmax_adjustment(Tensor block_max, Tensor block_sums, Tensor block_groups, "
    "int batch_size, int[] out_shape) -> Tensor"
)
def block_softmax_adjustment(
    block_max: Tensor,
    block_sums: Tensor,
    block_groups: Tensor,
    batch_size: int,
    out_shape: list[int],
) -> Tensor:
    """Return the factor that makes each block's softmax its sequence's (our reading).

    ``exp(max - M) / sum(sums * exp(max - M))`` over the blocks of one sequence, whose largest
    maximum is M; ``block_groups`` gives each block's sequence, and ``batch_size`` that of padding.
    """
    rows = wide(block_max).flatten(1)
    groups = block_groups.long().unsqueeze(-1).expand_as(rows)
    shape = (batch_size + 1, rows.shape[1])
    top = rows.new_full(shape, float("-inf")).scatter_reduce(0, groups, rows, "amax")
    scale = (rows - top.gather(0, groups)).exp()
    part = wide(block_sums).flatten(1) * scale
    whole = rows.new_zeros(shape).scatter_add(0, groups, part).gather(0, groups)
    return (scale / torch.maximum(whole, part)).reshape(out_shape).to(block_max.dtype)
