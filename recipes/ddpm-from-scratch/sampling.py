"""Whole sampling runs through ``sample_imgs``, with every option that changes what a step does."""

from __future__ import annotations

import contextlib

import torch
from small import BLOCKS, cpu_noise, small_model

from porter.verify.probe import Probe

DEFAULTS = {
    "schedule": "cosine", "timesteps": 4, "step_size": 1, "scale": 0.0, "label": 3, "guidance": 0.0,
    "corrected": False, "blocks": BLOCKS,
}  # fmt: skip


def run(probe: Probe) -> None:
    """Record the images of each run, twice: a second batch must not depend on the first.

    ``parameters``: ``runs`` (name -> options that differ from DEFAULTS), ``equal_noise`` (noise of
    a device is drawn on the CPU at every level), ``intermediate`` (also the image of every step).
    """
    keep = probe.parameters.get("intermediate", False)
    equal = probe.parameters.get("equal_noise", False)
    for name, changed in probe.parameters["runs"].items():
        options = DEFAULTS | changed
        model = small_model(
            probe,
            options["blocks"],
            timesteps=options["timesteps"],
            schedule=options["schedule"],
            step_size=options["step_size"],
            scale=options["scale"],
        )
        for batch in ("first", "second"):
            torch.manual_seed(probe.seed + len(batch))
            with cpu_noise() if equal else contextlib.nullcontext():
                images = model.sample_imgs(
                    2, options["label"], options["guidance"], keep,
                    corrected=options["corrected"],
                )  # fmt: skip
            if keep:
                images, steps = images
                probe.record(f"{name}/{batch}/steps", torch.stack(list(steps)))
            probe.record(f"{name}/{batch}/images", images)
