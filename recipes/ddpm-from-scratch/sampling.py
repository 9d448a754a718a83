"""Whole sampling runs through ``sample_imgs``, with every option that changes what a step does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from small import BLOCKS, cpu_noise, small_model

from porter.verify.probe import Probe

# Upstream's cosine schedule ends, at t = T, in a step that divides by 1e-5 and so makes rounding
# errors visible ones. Steps of two leave that one out.
DEFAULTS = {
    "schedule": "cosine", "timesteps": 8, "step_size": 2, "scale": 0.0, "label": 3, "guidance": 0,
    "corrected": False, "blocks": BLOCKS, "layers": 1, "images": 2, "unreduce": False,
    "resolution": 8, "intermediate": False, "progress": False, "channels": 8, "multiplier": 1,
}  # fmt: skip


def run(probe: Probe) -> None:
    """Record the images of each run, twice: a second batch must not depend on the first.

    ``parameters``: ``runs``, name -> options that differ from DEFAULTS. With ``intermediate`` the
    image of every step is recorded too. Noise asked of a device is drawn on the CPU.
    """
    with cpu_noise(probe), progress_bars(probe):
        for name, changed in probe.parameters["runs"].items():
            with probe.attempt(name):
                _sample(probe, name, DEFAULTS | changed)
    model = small_model(probe)
    keys = [f"{key} {tuple(x.shape)}" for key, x in model.state_dict().items()]
    probe.record_text("checkpoint", "\n".join(keys))
    with probe.attempt("variance"):
        v = probe.normal("v", 4, 3, 8, 8, scale=40.0)
        probe.record("variance", model.vs_to_variance(v, torch.arange(1, 5, device=probe.device)))


def _sample(probe: Probe, name: str, options: dict) -> None:
    names = ("timesteps", "schedule", "step_size", "scale", "layers", "resolution", "channels",
             "multiplier")  # fmt: skip
    model = small_model(probe, options["blocks"], **{key: options[key] for key in names})
    labels = options["label"] if isinstance(options["label"], list) else [options["label"]] * 2
    done = {}
    for batch, label in zip(("first", "second"), labels, strict=True):
        torch.manual_seed(probe.seed + len(batch))
        images = model.sample_imgs(
            options["images"], label, options["guidance"], options["intermediate"],
            use_tqdm=options["progress"], unreduce=options["unreduce"],
            corrected=options["corrected"],
        )  # fmt: skip
        if options["intermediate"]:
            images, steps = images
            done[f"{name}/{batch}/steps"] = torch.stack(list(steps))
        done[f"{name}/{batch}/images"] = images
    for output, images in done.items():  # the first batch's as the second has left them
        probe.record(output, images)


@contextlib.contextmanager
def progress_bars(probe: Probe) -> Iterator[None]:
    """Count the progress bars that are drawn."""
    from src.models import diff_model

    drawn = []

    def bar(steps: Any, **_options: Any) -> Any:
        drawn.append(steps)
        return steps

    diff_model.tqdm = bar
    yield
    probe.count("progress_bars", len(drawn))
