"""Training and sampling with the option that captures, or in Gaudi's eager mode compiles."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
from collections.abc import Iterator

import torch
from scripts import sample, take_smaller, write_checkpoint
from small import device_word, prepare, small_model
from training import process_group
from training_data import write_images

from porter.verify.probe import Probe

STEPS = 4
"""Of train.py, which goes on from the checkpoint of ``write_checkpoint``."""


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


def train(probe: Probe) -> None:
    """Run train.py, and record the weights and AdamW's first moments."""
    with process_group(probe, device_word(probe)):
        given = ["--device", device_word(probe), *words(probe)]
        probe.script("src/train.py", given)
    for kind in ("model", "optim"):
        saved = torch.load(f"models/test/{kind}_250000s.pkl", map_location="cpu")
        if kind == "optim":
            saved = {key: state["exp_avg"] for key, state in saved["state"].items()}
        values = [each.flatten().float() for _, each in sorted(saved.items())]
        probe.record(f"train/{kind}", torch.cat(values))


def sample_batches(probe: Probe) -> None:
    """Sample batches of several sizes with one model, and count what is printed on the way."""
    options = {"use_graphs": False} if words(probe) else {}
    model = small_model(probe, positional_encoding="RoPE")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for number, size in enumerate(probe.parameters["batches"]):
            torch.manual_seed(probe.seed + number)
            images = model.sample_imgs(size, 2, number, 2.0, sampler="heun", **options)
            probe.record(f"batches/{number}", images[..., ::4, ::4])
        for name, label in (("no-class", {}), ("unguided", {"class_label": 1})):
            images = model.sample_imgs(2, 2, **label, **options)
            probe.record(f"batches/{name}", images[..., ::4, ::4])
    for instead in ("the model is compiled", "every operation is dispatched"):
        told = printed.getvalue().count(f"No graphs, {instead}")
        probe.count(f"told-{instead.split()[-1]}", told)


def run(probe: Probe) -> None:
    """Train, sample batches of the sizes ``batches``, and sample with each line of ``infer``."""
    prepare(probe)
    shutil.copy(probe.tree / "imagenet_class_to_string.pkl", probe.scratch)
    write_images(probe, probe.scratch / "data" / "ImageNet12", 2 * STEPS)
    with contextlib.redirect_stdout(io.StringIO()):
        write_checkpoint(probe)
    sys.path.insert(0, str(probe.tree / "src"))
    take_smaller("models.diff_model")
    take_smaller("model_trainer")
    with counted(probe, "train"):
        train(probe)
    with counted(probe, "batches"):
        sample_batches(probe)
    for name, line in probe.parameters["infer"].items():
        with counted(probe, name):
            sample(probe, name, [*line.split(), *words(probe)])
