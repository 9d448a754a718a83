"""``torch.ops.hpu``: softmax of scores below the diagonal, or beside a mask.

Schemas are those of HabanaAI/gaudi-pytorch-bridge 1.19.0
(``habana_eager/eager_custom_op_register.cpp``), formulas those of its tests
(``tests/pytest_working/any_mode/test_hpu_scaled_*softmax.py``). Weights are computed in float32 and
rounded once; the arguments ``use_max`` and ``mode`` choose how the card computes and are not read.
"""

from __future__ import annotations

import torch
from torch import Tensor

from porter.device.sim.habana.fp8 import quantized
from porter.device.sim.vendors.fused_ops import kernel


def _below_diagonal(scores: Tensor) -> Tensor:
    """Return which scores (..., rows, columns) count: column <= row."""
    return torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()


def _scaled(scores: Tensor, scale: float, counts: Tensor) -> Tensor:
    """Return the scores in float32, -inf where they do not count."""
    return (scores.float() * scale).masked_fill(~counts, float("-inf"))


@kernel(
    "hpu::scaled_triangular_softmax_retain(Tensor self, float inv_scale_attn) "
    "-> (Tensor, Tensor, Tensor)"
)
def _triangular_retain(self: Tensor, inv_scale_attn: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weights, and of each row 1 / sum(exp) (float32) and the largest score."""
    scores = _scaled(self, inv_scale_attn, _below_diagonal(self))
    largest = scores.amax(-1, keepdim=True).to(self.dtype)
    reciprocal = (scores - largest.float()).exp().sum(-1, keepdim=True).reciprocal()
    return _weights(scores, reciprocal, largest).to(self.dtype), reciprocal, largest


def _weights(scores: Tensor, reciprocal: Tensor, largest: Tensor) -> Tensor:
    return (scores - largest.float()).exp() * reciprocal


@kernel(
    "hpu::scaled_triangular_softmax(Tensor self, float inv_scale_attn, Tensor? exp_sum_recpr=None, "
    "Tensor? max=None) -> Tensor"
)
def _triangular(
    self: Tensor,
    inv_scale_attn: float,
    exp_sum_recpr: Tensor | None = None,
    max: Tensor | None = None,
) -> Tensor:
    scores = _scaled(self, inv_scale_attn, _below_diagonal(self))
    if exp_sum_recpr is not None and max is not None:
        return _weights(scores, exp_sum_recpr, max).to(self.dtype)
    return scores.softmax(-1).to(self.dtype)


@kernel("hpu::scaled_masked_softmax(Tensor input, Tensor mask, float scale) -> Tensor")
def _masked(input: Tensor, mask: Tensor, scale: float) -> Tensor:
    return (input.float() * scale + mask.float()).softmax(-1).to(input.dtype)


@kernel(
    "hpu::scaled_masked_triangular_softmax(Tensor self, Tensor start_end, float inv_scale_attn, "
    "int grouped_batch_size, bool use_max, int mode, ScalarType? out_dtype=None) -> Tensor"
)
def _masked_triangular(
    self: Tensor,
    start_end: Tensor,
    inv_scale_attn: float,
    grouped_batch_size: int,
    use_max: bool,
    mode: int,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """``start_end`` holds the first column that counts and the one after the last, for each group
    of the batch; a row in which none counts is zero.

    A single row is that of the newest token, which sees all columns (as in the vendor's test of
    the next token).
    """
    bounds = start_end.reshape(-1, 2).repeat_interleave(grouped_batch_size, 0).view(-1, 2, 1, 1)
    column = torch.arange(self.shape[-1], device=self.device)
    counts = (column >= bounds[:, 0]) & (column < bounds[:, 1])
    if self.shape[-2] > 1:
        counts = counts & _below_diagonal(self)
    weights = _scaled(self, inv_scale_attn, counts).softmax(-1)
    weights = weights.masked_fill(~counts.any(-1, keepdim=True), 0.0)
    wanted = self.dtype if out_dtype is None else out_dtype
    return quantized(weights, wanted) if wanted.itemsize == 1 else weights.to(wanted)
