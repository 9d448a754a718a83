"""``python batch_rows.py SCRIPT LOSSES.json ARGUMENTS``: run a training script in one of several
processes, on its rows of the numbers that one process with the whole batch would draw, and with
the pictures in the order of one process (accelerate shuffles by another generator when there are
several).

Each process writes the losses that it logs to ``LOSSES.json.RANK``. What data sets draw at random
(a template for the text, a flip) is left out.
"""

from __future__ import annotations

import json
import os
import random
import runpy
import sys
from pathlib import Path
from typing import Any

import torch
import torch.utils.data.dataloader
import torchvision

RANK, SIZE = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
generator = torch.Generator("cpu").manual_seed(2024)


def rows(drawn: torch.Tensor, device: Any) -> torch.Tensor:
    """This process's share of the first dimension."""
    share = drawn.shape[0] // SIZE
    return drawn[RANK * share : (RANK + 1) * share].to(device or "cpu")


def randn(*size: Any, device: Any = None, dtype: Any = None, **_: Any) -> torch.Tensor:
    """``torch.randn`` for the whole batch, and its rows."""
    batch, *rest = size[0] if len(size) == 1 else size
    return rows(torch_randn(batch * SIZE, *rest, generator=generator, dtype=dtype), device)


def randn_like(like: torch.Tensor, **_: Any) -> torch.Tensor:
    """``torch.randn_like``, the same way."""
    return randn(*like.shape, device=like.device, dtype=like.dtype)


def randint(low: int, high: int, size: Any, device: Any = None, **_: Any) -> torch.Tensor:
    """``torch.randint``, the same way."""
    batch, *rest = size
    return rows(torch_randint(low, high, (batch * SIZE, *rest), generator=generator), device)


class InOneOrder(torch.utils.data.RandomSampler):
    """A shuffle that does not depend on how many processes there are."""

    def __init__(self, pictures: Any, **_: Any) -> None:
        super().__init__(pictures, generator=torch.Generator().manual_seed(7))


if __name__ == "__main__":
    script, place, *arguments = sys.argv[1:]
    torch_randn, torch_randint = torch.randn, torch.randint
    torch.randn, torch.randn_like, torch.randint = randn, randn_like, randint  # type: ignore[assignment]

    torch.utils.data.dataloader.RandomSampler = InOneOrder  # type: ignore[misc]
    random.choice = lambda options: options[0]
    torchvision.transforms.RandomHorizontalFlip.forward = lambda _, picture: picture

    import accelerate

    losses: list[float] = []

    def hear(_: Any, values: dict[str, float], *args: Any, **kwargs: Any) -> None:  # noqa: ARG001
        losses.append(values["train_loss" if "train_loss" in values else "loss"])

    accelerate.Accelerator.log = hear  # type: ignore[method-assign]
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")
    Path(f"{place}.{RANK}").write_text(json.dumps(losses))
