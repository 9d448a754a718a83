"""Noise that is the same at every level, on every device and in every dtype.

What a level draws, and where, is the matter of the recipe `noise`. Elsewhere torch's two functions
that upstream and the levels draw noise with are replaced: the numbers come from the probe, drawn in
float64 on the CPU, and are cast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from porter.verify.probe import Probe


@contextmanager
def fixed_noise(probe: Probe, label: str) -> Iterator[None]:
    """Serve ``torch.randn`` and ``torch.randn_like`` inside from numbers that ``label`` decides."""
    real = torch.randn, torch.randn_like
    drawn = 0

    def draw(shape: Any) -> torch.Tensor:
        nonlocal drawn
        drawn += 1
        generator = probe.generator(label, drawn)
        flat = real[0](math.prod(shape), generator=generator, dtype=torch.float64)
        return flat.reshape(tuple(shape))

    def randn(shape: Any, dtype: torch.dtype | None = None, device: Any = None) -> torch.Tensor:
        return draw(shape).to(device or "cpu", dtype or torch.get_default_dtype())

    def randn_like(like: torch.Tensor) -> torch.Tensor:
        return draw(like.shape).to(like.device, like.dtype)

    torch.randn, torch.randn_like = randn, randn_like  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.randn, torch.randn_like = real
