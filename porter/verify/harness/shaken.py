"""Disturb the rounding of a run, to measure how much rounding changes its outputs: their noise.

Processors round differently: they have other vector units, and libraries choose other kernels for
them. A sampling loop can amplify such a difference without bound, so a fixed tolerance may hold on
one processor and fail on the next. So level 0 runs twice: unchanged, and *shaken*,

- with every weight and input that the probe draws moved to a neighbouring value of its dtype, up
  or down at random (:func:`by_one_ulp`), and
- with matrix products and convolutions that sum in another order: oneDNN limited to SSE 4.1, MKL
  to the code path that all processors share.

Both disturb results as little as another processor does. The difference between the outputs of the
two runs is the output's noise on any machine (:mod:`porter.verify.judge.noise`).

ATen's own vector code stays as it is. Its elementary functions differ between processors by more
than rounding where arguments are large (measured: a positional encoding that takes the sine of 1e4
and more differs by 0.1), and such a difference is the same on both sides of a verdict.

The variables are read by oneDNN ("CPU dispatcher control" of its developer guide) and by MKL
("Conditional Numerical Reproducibility" of its developer guide); other libraries and processors
ignore them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

VARIABLES = {
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
}
"""The variables that a shaken run adds to its recipe's own, which override these."""


def by_one_ulp(values: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return ``values`` with each element moved to the next value of its dtype, up or down.

    ``values`` is on the CPU, of any shape and floating dtype; others are returned unchanged. Zeros
    stay, and so do values without a finite neighbour on the drawn side.
    """
    import torch

    if not values.is_floating_point():
        return values
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()]
    away = torch.randint(0, 2, values.shape, generator=generator, dtype=bits) * 2 - 1
    # Sign and magnitude: the next whole number is the next value away from zero.
    moved = (values.contiguous().view(bits) + away).view(values.dtype)
    stays = (values == 0) | ~torch.isfinite(values) | ~torch.isfinite(moved)
    return torch.where(stays, values, moved)
