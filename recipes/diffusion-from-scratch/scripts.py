"""src/train.py and src/infer.py, run as a user runs them, with data and weights written here.

Neither script has options for its sizes. Both first build a network of some 400 million parameters,
which inference throws away when it loads a checkpoint; so here upstream's classes take smaller
arguments, and nothing else of the scripts is changed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from small import device_word, is_upstream, noise_of_the_cpu, prepare, small_model
from training import log_stand_in, process_group
from training_data import write_images

from porter.verify.probe import Probe, ProbeError

STEPS = 4
TRAINED = 250_000
"""Steps after which train.py ends; its start is in the checkpoint."""
MIGRATIONS = {
    "sim:hpu": "habana_frameworks.torch.gpu_migration",
    "sim:npu": "torch_npu.contrib.transfer_to_npu",
}
"""The vendors' way to run code that names CUDA; for level 0, which knows no other device."""
SMALLER = {
    "diff_model": {"dim": 32, "c_dim": 16, "num_heads": 2, "num_blocks": 1, "hidden_scale": 2.0},
    "model_trainer": {
        "batchSize": 2, "warmup_steps": 2, "ema_update_freq": 2, "numSaveSteps": 2, "log_steps": 2,
    },
}  # fmt: skip


def take_smaller(module: str) -> None:
    """Let the script's class of this name take the sizes of SMALLER in place of the script's."""
    name = module.rpartition(".")[2]
    made = getattr(importlib.import_module(module), name)
    init = made.__init__

    @functools.wraps(init)
    def smaller(self: Any, *args: Any, **options: Any) -> None:
        if name == "diff_model" and options["dim"] <= 64:  # a checkpoint's own shape
            return init(self, *args, **options)
        return init(self, *args, **options | SMALLER[name])

    made.__init__ = smaller


def write_checkpoint(probe: Probe) -> None:
    """Write a checkpoint of step 249,996 where train.py looks for one: four steps are left."""
    small = small_model(probe, num_classes=1000, positional_encoding="RoPE", dim=64, num_heads=4)
    small.to("cpu").saveModel("models/softmax", step=TRAINED - STEPS)
    for name in ("model", "model_params"):
        suffix = "pkl" if name == "model" else "json"
        written = f"models/softmax/{name}_{TRAINED - STEPS}s.{suffix}"
        shutil.copy(written, f"models/softmax/{name}_{TRAINED}s.{suffix}")


def sample(probe: Probe, name: str, words: list[str]) -> None:
    """Run infer.py, on the checkpoint that train.py left if the name is "trained".

    Records images and files, counts the GIF's frames and the reports.
    """
    from PIL import Image, ImageSequence

    folder = "models/test" if name == "trained" else "models/softmax"
    given = ["--loadDir", folder, "--device", device_word(probe), "--batch_size", "2"]
    given += ["--loadFile", f"model_{TRAINED}s.pkl"]
    given += ["--loadDefFile", f"model_params_{TRAINED}s.json"]
    given += ["--out_imgname", f"{name}/fig", "--out_gifname", f"{name}/all.gif", *words]
    Path(name).mkdir()
    done = probe.script("src/infer.py", given)
    probe.record_files(f"{name}/files", name)
    for number in range(2):
        probe.record_image(f"{name}/image{number}", f"{name}/fig_{number}.png")
    with Image.open(f"{name}/all.gif") as gif:
        probe.count(f"{name}/frames", len(list(ImageSequence.Iterator(gif))))
    random = [line for line in done.stdout.splitlines() if line.startswith("Random class")]
    probe.record_text(f"{name}/random-class", "\n".join(random) or "none")
    report = re.findall(r"images/s, [0-9.]+ steps/s, first step: [0-9.]+ s", done.stdout)
    probe.count(f"{name}/reports", len(report))


def record_training(probe: Probe, printed: str, rows: list[list[float]]) -> None:
    """Record what train.py left: files, weights, AdamW's first moments, and what it logged."""
    probe.count("train/reports", len(re.findall(r"images/s, [0-9.]+ steps/s", printed)))
    probe.count("train/saved", printed.count("Saving model"))
    if probe.parameters["wandb"]:
        probe.record("train/logged", torch.tensor(rows)[:, 1])
    probe.record_files("train/files", "models/test")
    for kind in ("model", "optim"):
        saved = torch.load(f"models/test/{kind}_{TRAINED}s.pkl", map_location="cpu")
        values = saved.values() if kind == "model" else first_moments(saved)
        probe.record(f"train/{kind}", torch.cat([v.flatten().float() for v in values]))


def run(probe: Probe) -> None:
    """Train, sample from what was saved, and record all that a user is left with."""
    prepare(probe)
    if is_upstream(probe) and probe.device_name in MIGRATIONS:
        importlib.import_module(MIGRATIONS[probe.device_name])
    shutil.copy(probe.tree / "imagenet_class_to_string.pkl", probe.scratch)
    write_images(probe, probe.scratch / "data" / "ImageNet12", 2 * STEPS)
    with contextlib.redirect_stdout(io.StringIO()):
        write_checkpoint(probe)
    rows: list[list[float]] = []
    if probe.parameters["wandb"] or is_upstream(probe):
        log_stand_in(rows)
    sys.path.insert(0, str(probe.tree / "src"))
    take_smaller("models.diff_model")
    take_smaller("model_trainer")
    equal = probe.parameters.get("cpu_noise", False)
    with (
        probe.attempt("train"),
        process_group(probe, device_word(probe)),
        noise_of_the_cpu() if equal else contextlib.nullcontext(),
    ):
        words = [] if is_upstream(probe) else ["--device", device_word(probe)]
        migrated = is_upstream(probe) and probe.device_name in MIGRATIONS
        done = probe.script("src/train.py", words, expect=None if migrated else 0)
        probe.count("train/exit_code", done.exit_code)
        if not probe.parameters.get("only_calls"):
            record_training(probe, done.stdout, rows)
    for name, words in probe.parameters["infer"].items():
        with probe.attempt(name):
            if name == "trained" and "train" in probe.failures:
                raise ProbeError("not run: it samples from what `train` leaves, which failed")
            sample(probe, name, words.split())


def first_moments(saved: Any) -> list[torch.Tensor]:
    return [state["exp_avg"] for _, state in sorted(saved["state"].items())]
