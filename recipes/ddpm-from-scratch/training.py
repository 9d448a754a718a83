"""Training through upstream's ``model_trainer``: its loop, its losses, its optimizer, small."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from small import CLASSES, cpu_noise, small_model

from porter.verify.probe import Probe, ProbeError


def write_data(folder: Path, images: int) -> None:
    """Write images and metadata as upstream's ``data/loadImagenet64.py`` does."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(0)
    for index in range(images):
        image = numbers.integers(0, 256, 3 * 64 * 64).astype(np.uint8)
        entry = {"img": image, "label": index % CLASSES + 1}
        (folder / f"{index}.pkl").write_bytes(pickle.dumps(entry))
    metadata = {"num_data": images, "cls_min": 1, "cls_max": CLASSES}
    (folder / "metadata.pkl").write_bytes(pickle.dumps(metadata))


def device_word(probe: Probe) -> str:
    """The name that upstream's --device gives the probe's device."""
    return {"cuda": "gpu"}.get(probe.device.type, probe.device.type)


@contextlib.contextmanager
def launched(probe: Probe, *, always: bool = False) -> Iterator[None]:
    """The variables that torchrun gives a process which is alone; the CPU needs none."""
    if probe.device.type == "cpu" and not always:
        yield
        return
    port = 20000 + os.getpid() % 20000
    names = {
        "RANK": 0,
        "LOCAL_RANK": 0,
        "WORLD_SIZE": 1,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ |= {name: str(value) for name, value in names.items()}
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def trainer(probe: Probe, model: Any, **options: Any) -> Any:
    """Return upstream's trainer on ``model``.

    Upstream reaches the model through DDP's ``.module`` also where there is no DDP, so its trainer
    does not run on the CPU. To have a reference there, the model answers as its own ``.module``.
    """
    sys.path.insert(0, str(probe.tree / "src"))
    from model_trainer import model_trainer

    if probe.device.type == "cpu":
        model.__dict__["module"] = model
    chosen = {
        "batchSize": 2, "numSteps": 1, "epochs": 1, "lr": 3e-4, "Lambda": 0.001, "saveDir": "saved",
        "numSaveSteps": 10**9, "use_importance": False, "p_uncond": 0.3,
    } | options  # fmt: skip
    return model_trainer(model, device=device_word(probe), **chosen)


def train(probe: Probe, made: Any, steps: int, name: str) -> str:
    """Train one epoch of ``steps`` batches in a counted section; return what was printed."""
    write_data(probe.scratch / "data", steps * made.batchSize)
    torch.manual_seed(probe.seed + 1)
    np.random.seed(probe.seed + 1)
    printed = io.StringIO()
    os.chdir(probe.scratch)
    with contextlib.redirect_stdout(printed), probe.section(name, per=steps):
        made.train("data", steps * made.batchSize, 1, None)
    return printed.getvalue()


def nearly_sampled(made: Any, draws: int) -> None:
    """Give the trainer losses of earlier steps: ``draws`` more, and it samples by importance.

    From that step on upstream weighs the timesteps by their losses, which here fall to 0: its
    bookkeeping has no row for the last timestep, and ends with an IndexError there.
    """
    made.losses[:] = np.linspace(2.0, 0.0, made.losses.size).reshape(made.losses.shape)
    made.losses_ct[:] = 10
    left = 20 + draws
    made.losses_ct[: left // 10] = 0
    made.losses_ct[left // 10] = 10 - left % 10


def run(probe: Probe) -> None:
    """Record the three loss curves, the printed losses and the trained weights of each run."""
    with cpu_noise(probe):
        for name, options in probe.parameters["runs"].items():
            with probe.attempt(name):
                _run(probe, name, dict(options))


def _run(probe: Probe, name: str, options: dict[str, Any]) -> None:
    steps = options.pop("steps", probe.parameters["steps"])
    asked = ("schedule", "blocks", "classes", "timesteps")
    model = small_model(
        probe, **{"timesteps": 20} | {k: options.pop(k) for k in asked if k in options}
    )
    with launched(probe):
        draws = options.pop("draws", None)
        made = trainer(probe, model, **options)
        if draws is not None:
            nearly_sampled(made, draws)
        with mock.patch.object(np.random, "choice", wraps=np.random.choice) as weighted:
            printed = train(probe, made, steps, name)
    for kind in ("comb", "mean", "var"):
        curve = torch.tensor(getattr(made, f"losses_{kind}"), dtype=torch.float32)
        probe.record(f"{name}/{kind}", curve)
    probe.record(f"{name}/weights", torch.cat([p.detach().flatten() for p in model.parameters()]))
    losses = re.findall(r"step #(\d+)   Latest loss estimate: (-?[0-9.]+)\n", printed)
    if not losses:
        raise ProbeError(f"{name}: expected printed losses of steps, found {printed[-200:]!r}")
    probe.record(f"{name}/printed", torch.tensor([[float(x) for x in line] for line in losses]))
    if made.use_importance:
        probe.record(f"{name}/kept", torch.tensor(made.losses))
        probe.count(f"{name}/steps_by_importance", weighted.call_count)
