"""``python batch_rows.py SCRIPT ARGUMENTS``: run train.py in one of several processes, on its rows
of the numbers that one process with the whole batch would draw.

A sampler for N processes hands picture i to process i mod N, so rows are dealt the same way. Every
process shuffles the pictures by numpy, which upstream does not seed: here all do so alike, or no
single process could see the same pictures.

What became of the training is left in ``process<RANK>.pt``.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed

RANK, SIZE = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
generator = torch.Generator("cpu").manual_seed(2024)
torch_rand, torch_randn = torch.rand, torch.randn


def drawn(draw: Any, size: tuple[Any, ...], device: Any, dtype: Any) -> torch.Tensor:
    """Draw the first dimension for all processes, on the CPU; return this one's rows."""
    batch, *rest = size[0] if isinstance(size[0], (tuple, list)) else size
    whole = draw(batch * SIZE, *rest, generator=generator, dtype=dtype)
    rows: torch.Tensor = whole[RANK::SIZE].contiguous().to(device or "cpu")
    return rows


def rand(*size: Any, device: Any = None, dtype: Any = None, **_: Any) -> torch.Tensor:
    """``torch.rand``: timesteps, and whether a class is dropped."""
    return drawn(torch_rand, size, device, dtype)


def randn(*size: Any, device: Any = None, dtype: Any = None, **_: Any) -> torch.Tensor:
    """``torch.randn``: noise."""
    return drawn(torch_randn, size, device, dtype)


def randn_like(like: torch.Tensor, device: Any = None, **_: Any) -> torch.Tensor:
    """``torch.randn_like``: noise below randn-to-cpu."""
    return drawn(torch_randn, tuple(like.shape), device or like.device, like.dtype)


def leave(trainer: Any) -> None:
    """Write losses and weights, and what the processes talk by, as torch.distributed knows it."""
    left = {
        loss: torch.tensor(getattr(trainer, f"losses_{loss}")) for loss in ("comb", "mean", "var")
    }
    weights = [p.detach().flatten().cpu() for p in trainer.model.parameters()]
    left["weights"] = torch.cat(weights)
    left["backend"] = torch.distributed.get_backend()
    left["device"] = kind = next(trainer.model.parameters()).device.type
    if kind in ("cuda", "npu"):  # the card that a call without a number is for, as a barrier is
        left["card"] = getattr(torch, kind).current_device()
    torch.save(left, f"process{RANK}.pt")


if __name__ == "__main__":
    script, *arguments = sys.argv[1:]
    sys.path[0] = str(Path(script).parent)
    torch.manual_seed(RANK)
    np.random.seed(7)
    torch.rand, torch.randn, torch.randn_like = rand, randn, randn_like  # type: ignore[assignment]

    from model_trainer import model_trainer

    train = model_trainer.train

    def train_and_leave(trainer: Any, *given: Any) -> None:
        """The trainer's own ``train``, and then what became of it."""
        train(trainer, *given)
        leave(trainer)

    model_trainer.train = train_and_leave
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
