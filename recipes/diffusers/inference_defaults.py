"""The inference scripts' defaults, which must be those of upstream's pipelines."""

from __future__ import annotations

import argparse
import inspect
from typing import Any
from unittest import mock

import torch
from inference import SCRIPTS

from porter.verify.probe import Probe

TASKS = {
    "depth_to_image": "StableDiffusionDepth2ImgPipeline",
    "image_to_image": "StableDiffusionImg2ImgPipeline",
    "inpaint": "StableDiffusionInpaintPipeline",
    "text_to_image": "LDMTextToImagePipeline",
    "textual_inversion": "StableDiffusionPipeline",
    "unconditional": "DDPMPipeline",
}
PICTURES = {
    "image_to_image": ("image",),
    "depth_to_image": ("image",),
    "inpaint": ("image", "mask"),
}


def run(probe: Probe) -> None:
    """Record each task's steps and guidance: of upstream's pipelines, or of the scripts."""
    (probe.scratch / "picture.png").write_bytes(b"")
    scripts = (probe.tree / SCRIPTS).is_dir()
    for task, pipeline in TASKS.items():
        with probe.attempt(task):
            found = _of_the_script(probe, task) if scripts else _of_the_pipeline(pipeline)
            probe.record(f"{task}/steps", torch.tensor(found["num_inference_steps"]))
            if "guidance_scale" in found and task != "text_to_image":
                probe.record(f"{task}/guidance", torch.tensor(found["guidance_scale"]))
            elif scripts and task == "text_to_image":
                probe.count("latent_diffusion_guidance", found["guidance_scale"])


def _of_the_pipeline(name: str) -> dict[str, Any]:
    import diffusers

    parameters = inspect.signature(getattr(diffusers, name).__call__).parameters
    return {key: value.default for key, value in parameters.items()}


def _of_the_script(probe: Probe, task: str) -> dict[str, Any]:
    """The arguments that the script parses, before it finds that there is no such model."""
    parse, met = argparse.ArgumentParser.parse_args, argparse.Namespace()

    def parsed(parser: argparse.ArgumentParser, *args: Any, **more: Any) -> argparse.Namespace:
        nonlocal met
        met = parse(parser, *args, **more)
        return met

    words = [word for name in PICTURES.get(task, ()) for word in (f"--{name}", "picture.png")]
    with mock.patch.object(argparse.ArgumentParser, "parse_args", parsed):
        probe.script(f"{SCRIPTS}/{task}.py", ["--model", "nowhere", *words], expect=1)
    found = {"num_inference_steps": met.steps}
    return found | ({"guidance_scale": met.guidance_scale} if "guidance_scale" in met else {})
