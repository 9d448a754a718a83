"""Options of upstream's training script: columns, part of a data set, epochs, validation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from script_training import SIDE, options_of, record_losses, train
from small_pipelines import image_folder, stable_diffusion

from porter.verify.probe import Probe

PICTURES, PART, EPOCHS = 8, 4, 2
PROMPTS = ("a red disc", "a blue square")
RUNS = {
    "columns": (
        *("--dataset_name", "pairs", "--dataset_config_name", "default", "--max_train_steps", 4),
        *("--image_column", "picture", "--caption_column", "words"),
    ),
    "part": ("--train_data_dir", "data", "--max_train_samples", PART, "--num_train_epochs", EPOCHS),
    "validated": (
        *("--train_data_dir", "data", "--max_train_samples", PART, "--num_train_epochs", EPOCHS),
        *("--validation_prompts", *PROMPTS, "--validation_epochs", 1),
    ),
}


def run(probe: Probe) -> None:
    """Record the losses of each run; of the last, every validation's pictures, and count them.

    Noise is the CPU's where the level has the option for it.
    """
    stable_diffusion(probe, "sd15", probe.scratch / "model")
    image_folder(probe, probe.scratch / "data", PICTURES, SIDE)
    _write_pairs(probe)
    common = ["--pretrained_model_name_or_path", "model", "--resolution", SIDE, "--center_crop"]
    common += ["--train_batch_size", 2, "--learning_rate", 1e-3, "--seed", 0]
    common += ["--output_dir", "trained"]
    common += ["--noise_on_cpu"] if "--noise_on_cpu" in options_of(probe) else []
    for name, more in RUNS.items():
        with probe.attempt(name), pictures_made() as pictures:
            record_losses(probe, f"{name}/losses", train(probe, [*map(str, (*common, *more))]))
            if name == "validated":
                if probe.device.type == "cpu":  # another device's pictures have its own noise
                    probe.record("validated/pictures", torch.stack(pictures))
                probe.count("pictures", len(pictures))


def _write_pairs(probe: Probe) -> None:
    """Write a data set of other columns than upstream's as a folder of parquet."""
    import datasets

    files = sorted(map(str, (probe.scratch / "data").glob("*.png")))
    columns = {"number": list(range(PICTURES)), "words": [*PROMPTS] * (PICTURES // 2)}
    pairs = datasets.Dataset.from_dict(columns | {"picture": files})
    (probe.scratch / "pairs").mkdir()
    path = probe.scratch / "pairs" / "train-00000.parquet"
    pairs.cast_column("picture", datasets.Image()).to_parquet(path)


@contextlib.contextmanager
def pictures_made() -> Iterator[list[torch.Tensor]]:
    """Collect the pictures that Stable Diffusion pipelines return, uint8 height x width x 3."""
    from diffusers import StableDiffusionPipeline

    call = StableDiffusionPipeline.__call__
    pictures: list[torch.Tensor] = []

    def keep(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = call(self, *args, **kwargs)
        pictures.extend(torch.from_numpy(np.array(image)) for image in made.images)
        return made

    StableDiffusionPipeline.__call__ = keep
    try:
        yield pictures
    finally:
        StableDiffusionPipeline.__call__ = call
