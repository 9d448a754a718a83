"""``habana_frameworks.torch.hpex``: its ``kernels`` and ``normalization``.

Each kernel is one operator (see :mod:`porter.device.sim.vendors.fused_ops`); half-precision inputs
are computed in float32 and rounded once.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from porter.device.sim.habana import fp8  # noqa: F401  torch.ops.hpu.cast_to_fp8_v2
from porter.device.sim.vendors.fused_ops import fused, quarter_turn, rms_norm, wide


def _weights(
    query: Tensor,
    key: Tensor,
    bias: Tensor | None,
    visible: Tensor | None,
    scale: float,
    is_causal: bool,
) -> Tensor:
    """Return softmax's results in the kernel's precision."""
    if key.shape[-3] != query.shape[-3]:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = (wide(query) @ wide(key).transpose(-1, -2)) * scale
    if bias is not None:
        scores = scores + wide(bias)
    if visible is not None:
        scores = scores.masked_fill(~visible, -math.inf)
    if is_causal:
        rows, columns = scores.shape[-2:]
        later = torch.ones(rows, columns, dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    return scores.softmax(-1)


@fused("hpu", "sdpa")
def _sdpa(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    visible: Tensor | None,
    keep_mask: Tensor | None,
    scale: float,
    is_causal: bool,
) -> Tensor:
    weights = _weights(query, key, bias, visible, scale, is_causal)
    if value.shape[-3] != query.shape[-3]:
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    if keep_mask is not None:
        weights = weights * keep_mask
    return (weights @ wide(value)).to(query.dtype)


@fused("hpu", "sdpa_weights")
def _sdpa_weights(
    query: Tensor,
    key: Tensor,
    bias: Tensor | None,
    visible: Tensor | None,
    scale: float,
    is_causal: bool,
) -> Tensor:
    return _weights(query, key, bias, visible, scale, is_causal).to(query.dtype)


class FusedSDPA:
    """Scaled dot-product attention as one kernel, equal to PyTorch's."""

    @staticmethod
    def apply(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        softmax_mode: str = "None",
        recompute_mode: bool | None = None,
        valid_seq_len: Tensor | None = None,
        seq_padding_type: str = "left",
        return_dropout_mask: bool = False,
        return_attn_probs: bool = False,
        *,
        valid_sequence_lengths: Tensor | None = None,
        sequence_padding_type: str | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Return ``softmax(q k^T scale + mask) v``; a boolean mask is True where visible.

        ``softmax_mode`` "fast" chooses an approximation of the card's and changes nothing here;
        ``recompute_mode`` trades memory for time. The two keyword-only names are those that the
        vendor's client calls. ``return_attn_probs`` (inference only) and ``return_dropout_mask``
        (not when recomputing) add softmax's results and the mask to what is returned, in this
        order. Raises AssertionError where the bridge does.
        """
        needs_grad = query.requires_grad or key.requires_grad or value.requires_grad
        if return_attn_probs:
            assert not needs_grad, "return_attn_probs is supported only for inference mode"
        if return_dropout_mask:
            assert not recompute_mode, "Return_dropout_mask is not supported in recompute mode"
        if valid_sequence_lengths is not None:
            valid_seq_len = valid_sequence_lengths
        seq_padding_type = sequence_padding_type or seq_padding_type
        visible = attn_mask if attn_mask is not None and attn_mask.dtype == torch.bool else None
        bias = None if visible is not None else attn_mask
        if valid_seq_len is not None:
            visible = within(key, valid_seq_len, seq_padding_type)
        keep_mask = None
        if dropout_p > 0.0:
            shape = (*query.shape[:-1], key.shape[-2])
            keep_mask = torch.empty(shape, device=query.device).bernoulli_(1.0 - dropout_p)
            keep_mask = keep_mask / (1.0 - dropout_p)
        factor = query.shape[-1] ** -0.5 if scale is None else float(scale)
        found = [_sdpa(query, key, value, bias, visible, keep_mask, factor, is_causal)]
        if return_attn_probs:
            found.append(_sdpa_weights(query, key, bias, visible, factor, is_causal))
        if return_dropout_mask:
            found.append(torch.ones_like(found[0]) if keep_mask is None else keep_mask)
        return found[0] if len(found) == 1 else tuple(found)


def within(key: Tensor, lengths: Tensor, padding: str) -> Tensor:
    """Return which positions are valid, in sequences padded on the "left" or the "right"."""
    position = torch.arange(key.shape[-2], device=key.device)
    valid = lengths.view(-1, 1, 1, 1)
    if padding == "left":
        return position >= key.shape[-2] - valid
    return position < valid


class RotaryPosEmbeddingMode(enum.Enum):
    """Which elements are rotated together: halves of the vector, or neighbours."""

    BLOCKWISE = 0
    PAIRWISE = 1


@fused("hpu", "rotary_pos_embedding")
def _rotary(
    input: Tensor, sin: Tensor, cos: Tensor, position_ids: Tensor | None, offset: int, mode: int
) -> Tensor:
    if position_ids is not None:
        cos, sin = (_table(t)[position_ids].unsqueeze(1) for t in (cos, sin))
    elif offset or cos.shape[-2] != input.shape[-2]:
        length = input.shape[-2]
        cos, sin = (t[..., offset : offset + length, :] for t in (cos, sin))
    pairwise = mode == RotaryPosEmbeddingMode.PAIRWISE.value
    return (input * cos) + (quarter_turn(input, pairwise=pairwise) * sin)


def apply_rotary_pos_emb(
    p: Tensor,
    cos: Tensor,
    sin: Tensor,
    position_ids: Tensor | None = None,
    offset: int = 0,
    mode: RotaryPosEmbeddingMode = RotaryPosEmbeddingMode.BLOCKWISE,
) -> Tensor:
    """Apply rotary position embedding to ``p`` (batch, heads, sequence, head size)."""
    return _rotary(p, sin, cos, position_ids, offset, mode.value)


def _table(values: Tensor) -> Tensor:
    """Reshape a (1, 1, positions, size) table to (positions, size)."""
    return values.reshape(values.shape[-2], values.shape[-1])


class RotaryPosEmbeddingHelperV1:
    """Rotary embedding at consecutive positions, from ``offset``."""

    @staticmethod
    def apply(p: Tensor, cos: Tensor, sin: Tensor, offset: int = 0) -> Tensor:
        """``p * cos + rotate_half(p) * sin``."""
        return apply_rotary_pos_emb(p, cos, sin, None, offset)


class RotaryPosEmbeddingHelperV2:
    """Rotary embedding at given positions."""

    @staticmethod
    def apply(p: Tensor, cos: Tensor, sin: Tensor, position_ids: Tensor | None = None) -> Tensor:
        """``p * cos[ids] + rotate_half(p) * sin[ids]``; without ids, the whole tables."""
        return apply_rotary_pos_emb(p, cos, sin, position_ids)


@fused("hpu", "rotary_pos_embedding_cached")
def _rotary_cached(p: Tensor, rope_cache: Tensor) -> Tensor:
    size = rope_cache.shape[-2] * 2
    turning, passing = p[..., :size], p[..., size:]
    pairs = turning.reshape(*turning.shape[:-1], -1, 2)
    cache = rope_cache[: p.shape[0]].view(p.shape[0], -1, 1, size // 2, 2)
    cos, sin = cache[..., 0], cache[..., 1]
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2)
    return torch.cat((turned, passing), -1)


class RotaryPosEmbeddingHelperV3:
    """Rotary embedding of part of each head, from a cache of (cos, sin) pairs."""

    @staticmethod
    def apply(p: Tensor, rope_cache: Tensor) -> Tensor:
        """``p`` is (sequence, batch, heads, size); the cache (positions, batch or 1, size/2, 2)."""
        return _rotary_cached(p, rope_cache)


class CTCLoss:
    """Connectionist temporal classification loss."""

    @staticmethod
    def apply(
        log_probs: Tensor,
        targets: Tensor,
        input_lengths: Tensor,
        target_lengths: Tensor,
        blank: int = 0,
        reduction: str = "mean",
        zero_infinity: bool = False,
    ) -> Tensor:
        """``F.ctc_loss``."""
        return F.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity
        )


def cast_to_fp8_v2(
    input: Tensor,
    scale: Tensor | None = None,
    stochastic_rounding: bool = False,
    is_amax: bool = False,
    dtype: torch.dtype = torch.float8_e5m2,
) -> tuple[Tensor, Tensor]:
    """Return the input times ``scale`` in an 8-bit float (saturating), and its largest magnitude.

    float8_e4m3fn saturates at the simulated card's limit, 240 on a Gaudi2. Rounding is to nearest;
    ``stochastic_rounding`` changes nothing here. Without ``is_amax`` the second is empty.
    """
    made, largest = torch.ops.hpu.cast_to_fp8_v2(input, scale, stochastic_rounding, is_amax, dtype)
    return made, largest


@fused("hpu", "rms_norm")
def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    full = wide(x)
    return rms_norm(full, weight.to(full.dtype), eps, dimensions=1)[0].to(x.dtype)


class FusedRMSNorm:
    """RMS normalisation over the last dimension as one kernel."""

    @staticmethod
    def apply(
        data_in: Tensor,
        gamma: Tensor,
        eps: float,
        use_stages: bool = True,
        bwd_mode: int = 0,
        fast_math: bool = False,
    ) -> Tensor:
        """Return ``x / rms(x) * gamma``, in float32; the last three select the card's kernel."""
        return _rms_norm(data_in, gamma, eps)


class FusedClipNorm:
    """Gradient clipping by total norm that never reads a value on the host."""

    def __init__(self, parameters: Iterable[Tensor] | Tensor, max_norm: float) -> None:
        self.max_norm = float(max_norm)
        self.parameters = _listed(parameters)

    @torch.no_grad()
    def clip_norm(
        self, parameters: Iterable[Tensor] | Tensor | None = None, norm_type: float = 2.0
    ) -> Tensor:
        """Clip the gradients of ``parameters`` in place; returns their total norm before that."""
        params = self.parameters if parameters is None else _listed(parameters)
        grads = [p.grad for p in params if p.grad is not None]
        if not grads:
            return torch.tensor(0.0)
        order = float(norm_type)
        norms = torch.stack(torch._foreach_norm(grads, order))
        total = norms.max() if order == math.inf else norms.norm(order)
        coefficient = (self.max_norm / (total + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(grads, coefficient)
        return total


def _listed(parameters: Iterable[Tensor] | Tensor) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


__all__ = [
    "CTCLoss", "FusedSDPA", "RotaryPosEmbeddingHelperV1", "RotaryPosEmbeddingHelperV2",
    "RotaryPosEmbeddingHelperV3", "RotaryPosEmbeddingMode", "apply_rotary_pos_emb",
]  # fmt: skip
