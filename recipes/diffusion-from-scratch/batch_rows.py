"""``python batch_rows.py TREE BATCH ARGUMENTS``: run the tree's src/train.py in one of several
processes, on its rows of the pictures and numbers that one process with the whole batch would have.

Upstream's processes draw their pictures with replacement, each on its own. Here they are handed
out, row i to process i mod N, and sizes are small (`scripts.py`). Training is in float32: in
bfloat16, which train.py asks for, gradients of half a batch are too coarse to be added up.

What became of the training is left in ``process<RANK>.pt``.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from scripts import SMALLER, STEPS, take_smaller
from small import CLASSES, stand_in
from training import log_stand_in

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
    """``torch.rand``: whether a class is dropped."""
    return drawn(torch_rand, size, device, dtype)


def randn(*size: Any, device: Any = None, dtype: Any = None, **_: Any) -> torch.Tensor:
    """``torch.randn``: timesteps, noise, and that of the VAE's latents."""
    return drawn(torch_randn, size, device, dtype)


def randn_like(like: torch.Tensor, device: Any = None, **_: Any) -> torch.Tensor:
    """``torch.randn_like``: noise below randn-to-cpu."""
    return drawn(torch_randn, tuple(like.shape), device or like.device, like.dtype)


def normal_(into: torch.Tensor) -> torch.Tensor:
    """``Tensor.normal_``: noise from randn-to-cpu on, whatever order its numbers lie in."""
    return into.copy_(drawn(torch_randn, tuple(into.shape), "cpu", into.dtype))


def batches(batch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """This process's rows of the pictures and classes."""
    seeded = torch.Generator().manual_seed(5)
    return [
        (
            (torch_rand(batch, 3, 16, 16, generator=seeded) * 2 - 1)[RANK::SIZE],
            torch.randint(0, CLASSES, (batch,), generator=seeded)[RANK::SIZE],
        )
        for _ in range(STEPS)
    ]


def leave(trainer: Any) -> None:
    """Write losses, weights and averages, and what the processes talk by."""
    model = getattr(trainer.model, "module", trainer.model)
    left: dict[str, Any] = {"losses": torch.tensor(trainer.losses_comb)}
    for name, each in (("weights", model), ("average", trainer.ema_model_cpu)):
        moved = [p.detach().flatten().cpu() for p in each.parameters() if p.requires_grad]
        left[name] = torch.cat(moved)
    left["backend"] = torch.distributed.get_backend()
    left["device"] = next(model.parameters()).device.type
    torch.save(left, f"process{RANK}.pt")


if __name__ == "__main__":
    tree, batch, *arguments = sys.argv[1:]
    script = str(Path(tree, "src/train.py"))
    sys.path[0] = str(Path(script).parent)
    torch.manual_seed(RANK)
    if not Path(tree, "src/helpers/device.py").exists():  # upstream
        for name in ("flash_attn", "xformers", "xformers.ops", "xformers.ops.swiglu_op"):
            stand_in(name, flash_attn_qkvpacked_func=None, flash_attn_func=None, SwiGLU=None)
        log_stand_in([])
    SMALLER["model_trainer"] |= {"batchSize": int(batch) // SIZE, "use_amp": False}
    take_smaller("models.diff_model")
    take_smaller("model_trainer")

    import model_trainer

    model_trainer.DataLoader = lambda *_, **__: batches(int(batch))
    if not hasattr(model_trainer, "nullcontext"):  # until mixed-precision a NameError
        model_trainer.nullcontext = contextlib.nullcontext
    train = model_trainer.model_trainer.train

    def train_and_leave(trainer: Any) -> None:
        """The trainer's own ``train``, with this process's draws, and then what became of it."""
        torch.rand, torch.randn, torch.randn_like = rand, randn, randn_like  # type: ignore[assignment]
        torch.Tensor.normal_ = normal_  # type: ignore[assignment]
        train(trainer)
        leave(trainer)

    model_trainer.model_trainer.train = train_and_leave
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
