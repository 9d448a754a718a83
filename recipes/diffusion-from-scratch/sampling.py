"""Whole sampling runs through ``sample_imgs``, with every option that changes what a step does."""

from __future__ import annotations

import types
from typing import Any

import torch
from small import prepare, small_model

from porter.verify.probe import Probe

DEFAULTS = {
    "sampler": "euler", "label": 3, "then": 7, "guidance": 2.0, "steps": 2, "batch": 2,
    "intermediate": False, "generator": False, "dynamic": False,
}  # fmt: skip


def dynamic_module(probe: Probe) -> Any:
    """Upstream's module with dynamic guidance on, which it has as a constant in its source."""
    path = probe.tree / "src" / "models" / "diff_model.py"
    text = path.read_text()
    changed = text.replace("dynamic = False", "dynamic = True")
    if text.count("dynamic = False") != 1:
        raise ValueError(f"{path}: expected one line `dynamic = False`")
    module = types.ModuleType("dynamic_guidance")
    exec(compile(changed, str(path), "exec"), module.__dict__)
    return module


def run(probe: Probe) -> None:
    """Record the images of each run of ``parameters.runs`` (name -> what differs from DEFAULTS).

    Options that DEFAULTS does not have are the model's. The second batch, of the class ``then``,
    must not depend on the first. Of images every fourth pixel of every fourth row is recorded.
    """
    prepare(probe)
    for name, changed in probe.parameters["runs"].items():
        options = DEFAULTS | changed
        with probe.attempt(name):
            sample(probe, name, options)


def sample(probe: Probe, name: str, options: dict[str, Any]) -> None:
    """Record two batches of images; with ``intermediate`` those of every step too."""
    shape = {key: value for key, value in options.items() if key not in DEFAULTS}
    module = dynamic_module(probe) if options["dynamic"] else None
    model = small_model(probe, module, **shape)
    for batch, label in (("first", options["label"]), ("second", options["then"])):
        torch.manual_seed(probe.seed + len(batch))
        generator = torch.Generator().manual_seed(5) if options["generator"] else None
        with probe.section(name, per=options["steps"]):
            images = model.sample_imgs(
                options["batch"], options["steps"], label, options["guidance"],
                options["intermediate"], False, options["sampler"], generator,
            )  # fmt: skip
        if options["intermediate"]:
            images, steps = images
            few = [step[..., ::4, ::4] for step in steps]
            probe.record_calls(f"{name}/{batch}/steps", few, options["steps"] + 1)
        probe.record(f"{name}/{batch}/images", images[..., ::4, ::4])
