"""Inference scripts with a Stable Diffusion of one's own training, and with odd pictures."""

from __future__ import annotations

from typing import Any

import torch
from inference import PROMPT, SCRIPTS
from inference_options import _checker
from PIL import Image
from small_pipelines import image_folder, stable_diffusion
from task_pipelines import inpaint

from porter.verify.probe import Probe, ProbeError

ODD, FITTED = (50, 37), (48, 32)
STEPS = 3


def run(probe: Probe) -> None:
    """Record the images of the scripts; in the reference, before there are any, the pipelines'."""
    from diffusers import StableDiffusionInpaintPipeline, StableDiffusionPipeline

    plain = stable_diffusion(probe, "sd15", probe.scratch / "plain")
    parts = plain.components | _checker(probe)
    StableDiffusionPipeline(**parts).save_pretrained("trained")
    (probe.scratch / "inpaint").mkdir()
    inpaint(probe, probe.scratch / "inpaint")
    image_folder(probe, probe.scratch / "pictures", 1, 64)
    whole = Image.open("pictures/000.png").convert("RGB")
    whole.resize(ODD).save("odd.png")
    white = Image.new("RGB", ODD)
    white.paste((255, 255, 255), (10, 10, 40, 30))
    white.save("mask.png")

    if (probe.tree / SCRIPTS).is_dir():
        _by_scripts(probe)
        return
    given = {"generator": torch.Generator("cpu").manual_seed(0), "num_inference_steps": STEPS}
    with probe.attempt("image/trained"):
        unchecked = {"safety_checker": None, "requires_safety_checker": False}
        trained = StableDiffusionPipeline.from_pretrained("trained", **unchecked)
        trained([PROMPT], guidance_scale=7.5, **given).images[0].save("trained.png")
        probe.record_image("image/trained", "trained.png")
    with probe.attempt("image/mend"):
        given["generator"] = torch.Generator("cpu").manual_seed(0)
        pipeline = StableDiffusionInpaintPipeline.from_pretrained("inpaint")
        _inpainted(pipeline, given).save("mend.png")
        probe.record_image("image/mend", "mend.png")


def _inpainted(pipeline: Any, given: dict[str, Any]) -> Any:
    picture = Image.open("odd.png").convert("RGB").resize(FITTED, Image.Resampling.LANCZOS)
    mask = Image.open("mask.png").convert("RGB").resize(FITTED)
    size = {"width": FITTED[0], "height": FITTED[1]}
    images = pipeline(PROMPT, image=picture, mask_image=mask, guidance_scale=7.5, **size, **given)
    return images.images[0]


def _by_scripts(probe: Probe) -> None:
    common = ["--device", probe.device.type, "--steps", STEPS, "--prompt", PROMPT]
    trained = ["--model", "trained", "--guidance_scale", 7.5, "--output", "trained.png"]
    with probe.attempt("image/trained"):
        probe.script(f"{SCRIPTS}/text_to_image.py", [*common, *trained, "--no_safety_checker"])
        probe.record_image("image/trained", "trained.png")
    with probe.attempt("image/mend"):
        mend = ["--model", "inpaint", "--image", "odd.png", "--mask", "mask.png"]
        words = [*common, *mend, "--output", "mend.png"]
        told = probe.script(f"{SCRIPTS}/inpaint.py", words).stdout
        probe.record_image("image/mend", "mend.png")
        if "odd.png: resized from 50x37 to 48x32" not in told:
            raise ProbeError(f"expected to be told of another size, found {told!r}")
    with probe.attempt("painted_black"):
        checked = ["--model", "trained", "--output", "checked.png"]
        probe.script(f"{SCRIPTS}/text_to_image.py", [*common, *checked])
        black = Image.open("checked.png").getextrema() == ((0, 0),) * 3
        probe.count("painted_black", int(black))
