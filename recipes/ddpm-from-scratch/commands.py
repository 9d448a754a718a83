"""Upstream's commands as a user gives them, with checkpoints and data of the probe's."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small import CLASSES, small_model
from training import write_data

from porter.verify.probe import Probe


def run_module(probe: Probe, module: str, arguments: Sequence[object]) -> str:
    """Run ``python -m MODULE ARGUMENTS`` in this process, in scratch; return what it printed.

    Raises RuntimeError when it ends with another exit code than 0.
    """
    argv, printed = sys.argv, io.StringIO()
    sys.argv = [module, *map(str, arguments)]
    probe.seed_everything()
    try:
        with contextlib.chdir(probe.scratch), contextlib.redirect_stdout(printed):
            runpy.run_module(module, run_name="__main__")
    except SystemExit as leave:
        if leave.code:
            raise RuntimeError(f"{module}: exit code {leave.code}") from leave
    finally:
        sys.argv = argv
    return printed.getvalue()


def save_checkpoint(probe: Probe, folder: str, *, optimizer: bool = False, **options: Any) -> None:
    """Save a small model, and an AdamW that has made one step, from the CPU, by ``saveModel``."""
    model = small_model(probe, **options).cpu()
    optim = torch.optim.AdamW(model.parameters(), lr=3e-4, eps=1e-4) if optimizer else None
    if optim:
        for p in model.parameters():
            p.grad = torch.full_like(p, 1e-3)
        optim.step()
    with contextlib.chdir(probe.scratch):
        model.saveModel(folder, optim, 1, 4)


def write_dataset(probe: Probe, images: int) -> None:
    """Write images as files and, as ``load_into_mem`` wants them, as two tensors."""
    write_data(probe.scratch / "images", images)
    (probe.scratch / "data").mkdir(exist_ok=True)
    numbers = np.random.default_rng(1).integers(0, 256, (images, 3, 64, 64))
    torch.save(torch.tensor(numbers), probe.scratch / "data" / "Imagenet64_imgs.pt")
    labels = torch.arange(images, dtype=torch.int) % CLASSES + 1
    torch.save(labels, probe.scratch / "data" / "Imagenet64_labels.pt")


def train_command(probe: Probe, word: str, *more: object) -> str:
    """Run ``src/train.py``; return what it printed."""
    given = ["--data_path", "images", "--embCh", 8, "--num_layers", 1, "--t_dim", 16, "--c_dim", 8,
             "--T", 20, "--batchSize", 4, "--gradAccSteps", 2, "--numSaveSteps", 2,
             "--atn_resolution", 8, "--blk_types", "res,clsAtn,chnAtn", "--device", word,
             *more]  # fmt: skip
    return probe.script("src/train.py", list(map(str, given))).stdout


def weights(file: Path) -> torch.Tensor:
    """Return the parameters of a saved model as one vector on the CPU."""
    saved = torch.load(file, map_location="cpu")
    return torch.cat([saved[name].flatten().cpu() for name in sorted(saved)])


def newest(folder: Path, pattern: str) -> Path:
    """Return the file of the most steps."""
    return max(folder.glob(pattern), key=lambda p: int(p.stem.split("_")[-1].removesuffix("s")))
