"""Training through upstream's ``model_trainer``: its loop, its losses, its optimizer, small."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small import CLASSES, cpu_noise, small_model

from porter.verify.probe import Probe


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
def launched(probe: Probe) -> Any:
    """The variables that torchrun gives a process which is alone; the CPU needs none."""
    if probe.device.type == "cpu":
        yield
        return
    port = 20000 + os.getpid() % 20000
    names = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
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
    made = model_trainer(model, device=device_word(probe), **chosen)
    return made


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


def run(probe: Probe) -> None:
    """Record the three loss curves, the printed losses and the trained weights of each run."""
    steps = probe.parameters["steps"]
    equal = probe.parameters.get("equal_noise", False)
    for name, options in probe.parameters["runs"].items():
        options = dict(options)
        model = small_model(probe, schedule=options.pop("schedule", "cosine"), timesteps=20)
        with launched(probe), cpu_noise() if equal else contextlib.nullcontext():
            made = trainer(probe, model, **options)
            printed = train(probe, made, steps, name)
        for kind in ("comb", "mean", "var"):
            curve = torch.tensor(getattr(made, f"losses_{kind}"), dtype=torch.float32)
            probe.record(f"{name}/{kind}", curve)
        probe.record(f"{name}/weights", torch.cat([p.detach().flatten() for p in model.parameters()]))
        lines = re.findall(r"step #\d+   Latest loss estimate: [0-9.]+", printed)
        probe.record_text(f"{name}/printed", "\n".join(lines))
