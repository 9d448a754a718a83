"""A small model of the upstream's own classes, and the little a run needs beside it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from porter.verify.probe import Probe

BLOCKS = ("res", "conv", "clsAtn", "atn", "chnAtn")
"""Every type of block. The first must be one that changes the number of channels."""
CLASSES = 10


def small_model(
    probe: Probe,
    blocks: Sequence[str] = BLOCKS,
    *,
    channels: int = 8,
    layers: int = 1,
    timesteps: int = 4,
    schedule: str = "cosine",
    step_size: int = 1,
    scale: float = 0.0,
    classes: int | None = CLASSES,
    resolution: int = 8,
    multiplier: int = 1,
    **options: Any,
) -> Any:
    """Return upstream's ``diff_model`` on the probe's device, with weights of the probe's.

    Images are 3 x 64 x 64, which upstream fixes. The weights' gain keeps predictions near those of
    a trained model in size.
    """
    from src.models.diff_model import diff_model

    with contextlib.redirect_stdout(io.StringIO()):  # a banner at every construction
        model = diff_model(
            3, channels, multiplier, layers, list(blocks), timesteps, schedule, 16, probe.device,
            8 if classes else None, classes, resolution, 0.0, step_size, scale, **options,
        )  # fmt: skip
    return probe.alive(model, gain=0.5)


@contextlib.contextmanager
def cpu_noise(probe: Probe) -> Iterator[None]:
    """Let ``randn`` and ``randn_like`` for another device draw on the CPU and move the numbers.

    With it upstream and the levels below randn-to-cpu see the noise that the levels above draw. How
    often it was needed is the counter ``device_draws``.
    """
    randn, randn_like = torch.randn, torch.randn_like
    replaced = 0

    def draw(*size: Any, device: Any = None, **options: Any) -> torch.Tensor:
        nonlocal replaced
        if device is None or torch.device(device).type == "cpu":
            return randn(*size, device=device, **options)
        replaced += 1
        return randn(*size, **options).to(device)

    def draw_like(like: torch.Tensor, **options: Any) -> torch.Tensor:
        return draw(like.shape, dtype=like.dtype, device=options.get("device", like.device))

    torch.randn, torch.randn_like = draw, draw_like  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.randn, torch.randn_like = randn, randn_like
        probe.count("device_draws", replaced)
