"""``torch.ops.hpu``: reordering of key-value caches, and functions in fast arithmetic.

Schemas are those of HabanaAI/gaudi-pytorch-bridge 1.19.0
(``habana_eager/eager_custom_op_register.cpp``), formulas those of its tests
(``tests/pytest_working/any_mode``: ``test_hpu_kv_reorder.py``, ``test_hpu_fp8_ops_any_mode.py`` and
``test_hpu_fast_math.py``). What fast arithmetic loses on a card is not simulated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from porter.device.sim.vendors.fused_ops import kernel

_BEAMS = 4
_SHIFTS = (6, 4, 2, 0)
"""A number of 8 bits holds the four beams to read, two bits each, the first one highest."""


def _like_cache(self: Tensor, *_: Tensor) -> Tensor:
    return torch.empty_like(self)


@kernel(
    "hpu::kv_reorder_(Tensor(a!) self, Tensor start, Tensor end, Tensor beam_idx) -> (Tensor(a!))",
    lambda self, *_: self,
)
def _kv_reorder_(self: Tensor, start: Tensor, end: Tensor, beam_idx: Tensor) -> Tensor:
    """Reorder the beams of a cache (batch, 4, ..., positions, size), from ``start`` to ``end``.

    ``start`` and ``end`` (batch,) are positions; ``beam_idx`` (batch,) uint8 says which beam each
    of the four takes.
    """
    rows = (map(int, row) for row in zip(start, end, beam_idx, strict=True))
    for own, (first, last, packed) in zip(self, rows, strict=True):
        beams = torch.tensor([packed >> shift & _BEAMS - 1 for shift in _SHIFTS])
        part = own[..., first:last, :]
        part.copy_(part[beams])
    return self


@kernel(
    "hpu::kv_reorder(Tensor self, Tensor start, Tensor end, Tensor beam_idx) -> Tensor",
    _like_cache,
)
def _kv_reorder(self: Tensor, start: Tensor, end: Tensor, beam_idx: Tensor) -> Tensor:
    cache = self.clone()
    _kv_reorder_(cache, start, end, beam_idx)
    return cache


@kernel("hpu::in_place_interleave_(Tensor(a!) self) -> (Tensor(a!))")
def _in_place_interleave_(self: Tensor) -> Tensor:
    """Write each of the first quarter of the rows four times: 0, 0, 0, 0, 1, 1, 1, 1, ..."""
    rows = torch.arange(self.shape[0]) // _BEAMS
    return self.copy_(self[rows])


@kernel("hpu::in_place_interleave(Tensor self) -> Tensor")
def _in_place_interleave(self: Tensor) -> Tensor:
    rows = self.clone()
    _in_place_interleave_(rows)
    return rows


@kernel("hpu::plain_index(Tensor self, Tensor[] indices) -> Tensor")
def _plain_index(self: Tensor, indices: list[Tensor]) -> Tensor:
    """``self[indices]``."""
    return self[tuple(indices)]


@kernel("hpu::exp_fast_math(Tensor self) -> Tensor")
def _exp(self: Tensor) -> Tensor:
    return self.exp()


@kernel("hpu::sqrt_fast_math(Tensor self) -> Tensor")
def _sqrt(self: Tensor) -> Tensor:
    return self.sqrt()


@kernel("hpu::rsqrt_fast_math(Tensor self) -> Tensor")
def _rsqrt(self: Tensor) -> Tensor:
    return self.rsqrt()
