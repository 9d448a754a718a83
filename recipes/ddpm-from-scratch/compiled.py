"""Training and sampling with the option that captures, or in Gaudi's eager mode compiles."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import Any

import torch
from commands import save_checkpoint, write_dataset
from scripts import infer, training
from training import device_word

from porter.verify.probe import Probe


@contextlib.contextmanager
def counted(probe: Probe, name: str) -> Iterator[None]:
    """Count a section that begins with nothing compiled; the scripts share a process here."""
    if dynamo := sys.modules.get("torch._dynamo"):
        dynamo.reset()  # type: ignore[attr-defined]
    with probe.attempt(name), probe.section(name):
        yield


def words(probe: Probe) -> list[str]:
    """The flag, where the level's scripts have it."""
    known = "--graphs" in (probe.tree / "src" / "infer.py").read_text(encoding="utf-8")
    return probe.parameters["flag"].split() if known else []


def loaded_model(probe: Probe) -> Any:
    """A small model as a user loads it: what watches the probe's own would cut a graph."""
    from src.models.diff_model import diff_model

    save_checkpoint(probe, "many", timesteps=2, blocks=("conv", "atn"))
    model = diff_model(3, 8, 1, 1, ["conv"], 2, "cosine", 16, device_word(probe), 8, 10)
    model.loadModel(str(probe.scratch / "many"), "model_1e_4s.pkl", "model_params_1e_4s.json")
    return model


def sample_batches(probe: Probe) -> None:
    """Sample batches of several sizes with one model, and count what is printed on the way."""
    options = {"graphs": False} if words(probe) else {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        model = loaded_model(probe)
        for number, size in enumerate(probe.parameters["batches"]):
            torch.manual_seed(probe.seed + number)
            probe.record(f"batches/{number}", model.sample_imgs(size, number, 1.0, **options))
        for name, label in (("no-class", []), ("unguided", [1])):
            probe.record(f"batches/{name}", model.sample_imgs(2, *label, **options))
            x = probe.normal(name, 2, 3, 64, 64)
            with torch.no_grad():
                probe.record(f"batches/{name}-step", model.unnoise_batch(x, 2, 2, *label))
    for instead in ("the model is compiled", "every operation is dispatched"):
        told = printed.getvalue().count(f"No graphs, {instead}")
        probe.count(f"told-{instead.split()[-1]}", told)


def run(probe: Probe) -> None:
    """Sample batches of the sizes ``batches``, train, and sample with each line of ``infer``."""
    with counted(probe, "batches"):
        sample_batches(probe)
    write_dataset(probe, 8)
    with counted(probe, "train"):
        more = ("--load_into_mem", False, "--epochs", 1, "--blk_types", "res,clsAtn")
        training(probe, "train", device_word(probe), *more, *words(probe))
    save_checkpoint(probe, "saved", timesteps=20, blocks=("res", "chnAtn"))
    for name, line in probe.parameters["infer"].items():
        with counted(probe, name):
            infer(probe, name, device_word(probe), "1e_4s", *line.split(), *words(probe))
