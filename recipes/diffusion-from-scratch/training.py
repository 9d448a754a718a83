"""Training through upstream's ``model_trainer``: its loop, optimizer, averages and checkpoints."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shutil
import socket
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import torch
from small import (
    CLASSES,
    device_word,
    has,
    is_upstream,
    noise_of_the_cpu,
    prepare,
    small_model,
    stand_in,
)
from training_data import write_images

from porter.verify.probe import Probe, ProbeError

DEFAULTS = {
    "batchSize": 2, "numSteps": 1, "totalSteps": 20, "lr": 3e-3, "ema_update_freq": 4,
    "ema_decay": 0.5, "warmup_steps": 3, "use_lr_scheduler": True, "saveDir": "saved",
    "numSaveSteps": 10, "p_uncond": 0.4, "use_amp": False, "wandb_name": None, "log_steps": 3,
}  # fmt: skip
"""Arguments of upstream's ``model_trainer``."""


def log_stand_in(rows: list[list[float]]) -> None:
    """Put a wandb in place that keeps what it is told of: rows of step, loss, learning rate."""
    wandb = stand_in("wandb", init=lambda **_: None, watch=lambda *_, **__: None)
    wandb.run = type("Run", (), {"id": "run-of-a-probe"})  # type: ignore[attr-defined]

    def log(told: dict[str, float], step: int) -> None:
        rows.append([step, told["loss"], told["lr"]])

    wandb.log = log  # type: ignore[attr-defined]


@contextlib.contextmanager
def process_group(probe: Probe, device: str) -> Iterator[None]:
    """What a launcher (torchrun) gives a process that is alone; from minimal on the CPU needs none.

    Upstream waits at a barrier also where it has not made a group, as on the CPU: it gets one.
    """
    if device == "cpu":
        if is_upstream(probe):
            store = torch.distributed.HashStore()
            torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        names = {}
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        names = {
            "RANK": "0",
            "LOCAL_RANK": "0",
            "WORLD_SIZE": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    os.environ |= names
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def make_trainer(probe: Probe, model: Any, device: str, **options: Any) -> Any:
    """Return upstream's trainer of ``model``.

    Upstream reaches the model through DDP's ``.module`` also where there is no DDP, so its trainer
    does not run on the CPU. To have a reference there, the model answers as its own ``.module``.
    Until mixed-precision, float32 ends in a NameError for want of an import, which is given.
    """
    module = importlib.import_module("src.model_trainer")
    if is_upstream(probe) and device == "cpu":
        model.__dict__["module"] = model
    if not has(probe, "src/blocks/float32.py"):
        module.nullcontext = contextlib.nullcontext  # type: ignore[attr-defined]
    chosen = DEFAULTS | options
    with contextlib.redirect_stdout(io.StringIO()):
        return module.model_trainer(model, device=device, **chosen)


def give_batches(probe: Probe, steps: int, batch: int) -> None:
    """Let the trainer's loader give ``steps`` batches of images and labels, the same everywhere."""
    module = importlib.import_module("src.model_trainer")
    generator = probe.generator("batches")

    def loader(*_: Any, **__: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [
            (
                torch.rand(batch, 3, 16, 16, generator=generator) * 2 - 1,
                torch.randint(0, CLASSES, (batch,), generator=generator),
            )
            for _ in range(steps)
        ]

    module.DataLoader = loader  # type: ignore[attr-defined]


def train(probe: Probe, trainer: Any, name: str, steps: int) -> None:
    """Train ``steps`` batches in a counted section."""
    give_batches(probe, steps, trainer.batchSize)
    torch.manual_seed(probe.seed + 1)
    printed, bar = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(bar),
        probe.section(name, per=steps),
    ):
        trainer.train()
    probe.count(f"{name}/reports", printed.getvalue().count("steps/s"))


def flat(model: Any) -> torch.Tensor:
    """All parameters but the VAE's and the rotary frequencies, which stay as they are."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.cat([p.detach().flatten().cpu() for p in trained])


def record_trained(probe: Probe, name: str, trainer: Any, rows: list[list[float]]) -> None:
    """Record losses, steps and the log, learned and averaged weights."""
    model = getattr(trainer.model, "module", trainer.model)
    probe.record(f"{name}/loss", torch.tensor(trainer.losses_comb, dtype=torch.float32))
    probe.record(f"{name}/steps", torch.tensor(trainer.steps_list, dtype=torch.int64))
    probe.record(f"{name}/logged", torch.tensor(rows, dtype=torch.float64))
    probe.record(f"{name}/weights", flat(model))
    probe.record(f"{name}/average", flat(trainer.ema_model_cpu))


def write_as_if_from(device: str, file: str, copy: str) -> None:
    """Copy a file of ``torch.save`` with every tensor's place written as ``device``.

    So it would have been saved there: nothing else in such a file tells of a device.
    """
    tag = b"X" + struct.pack("<I", len(device)) + device.encode()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("/data.pkl"):
                content, places = re.subn(rb"X.\x00\x00\x00(cpu|(cuda|hpu|npu):0)", tag, content)
                if not places:
                    raise ValueError(f"{file}: no tensor in it has a device")
            new.writestr(name, content)


def continue_training(probe: Probe, source: str, device: str, rows: Any) -> None:
    """Load what ``saved`` holds of step 10, as if saved on ``source``, and train 3 steps more."""
    kinds = ["model", "optim", "scheduler", *(["scaler"] if probe.parameters["use_amp"] else [])]
    for kind in kinds:
        copy = f"saved/{kind}_from.pkl"
        if source == "itself" or kind in ("scheduler", "scaler"):
            shutil.copy(f"saved/{kind}_10s.pkl", copy)
        else:
            write_as_if_from(source, f"saved/{kind}_10s.pkl", copy)
    model = small_model(probe)
    model.loadModel("saved", "model_from.pkl", "model_params_10s.json")
    files = {f"{kind}File": f"saved/{kind}_from.pkl" for kind in kinds[1:]}
    name = f"from-{source.removesuffix(':0')}"
    with process_group(probe, device):
        trainer = make_trainer(
            probe, model, device, saveDir="again", use_amp=probe.parameters["use_amp"], **files
        )
        train(probe, trainer, name, 3)
    record_trained(probe, name, trainer, rows)


def run(probe: Probe) -> None:
    """Train each of ``parameters.runs`` (name -> options of the trainer and the model).

    Then go on from the last one's checkpoint of step 10, as if it had been saved on each device of
    ``parameters.resume`` ("itself": as it was saved).
    """
    prepare(probe)
    rows: list[list[float]] = []
    log_stand_in(rows)
    write_images(probe, probe.scratch / "data" / "ImageNet12", 3)
    device, steps = device_word(probe), probe.parameters["steps"]
    noise = noise_of_the_cpu() if probe.parameters.get("cpu_noise") else contextlib.nullcontext()
    with noise:
        for name, changed in probe.parameters["runs"].items():
            options = {key: value for key, value in changed.items() if key in DEFAULTS}
            options["use_amp"] = probe.parameters["use_amp"]
            shape = {key: value for key, value in changed.items() if key not in DEFAULTS}
            rows.clear()
            with probe.attempt(name):
                with process_group(probe, device):
                    trainer = make_trainer(probe, small_model(probe, **shape), device, **options)
                    train(probe, trainer, name, steps)
                record_trained(probe, name, trainer, rows)
        for source in (None, *probe.parameters["resume"]):
            rows.clear()
            with probe.attempt(f"from-{source.removesuffix(':0')}" if source else "saved"):
                if name in probe.failures:
                    raise ProbeError(f"not run: it goes on from `{name}`, which failed")
                if source is None:
                    probe.record_files("saved", "saved")
                else:
                    continue_training(probe, source, device, rows)
