"""The six inference tasks: the pipelines' images, and those of the level's scripts."""

from __future__ import annotations

from typing import Any

import torch
from small_pipelines import image_folder
from task_pipelines import TASKS

from porter.verify.probe import Probe

SCRIPTS = "examples/device_inference"
PROMPT = "red square on a wall"
SIDE = 64
STEPS = {"image_to_image": 4, "depth_to_image": 4, "unconditional": 4}
OPTIONS: dict[str, list[object]] = {
    "image_to_image": ["--image", "pictures/000.png", "--no_safety_checker"],
    "inpaint": ["--image", "pictures/000.png", "--mask", "pictures/mask.png"],
    "depth_to_image": ["--image", "pictures/000.png"],
    "textual_inversion": ["--embedding", "textual_inversion"],
}


def run(probe: Probe) -> None:
    """Record one image a task: by the script where the level has it, by the pipeline before."""
    write_pictures(probe)
    for task, write in TASKS.items():
        with probe.attempt(f"image/{task}"):
            folder = probe.scratch / task
            folder.mkdir()
            write(probe, folder)
            with probe.section(task):
                if (probe.tree / SCRIPTS).is_dir():
                    _by_script(probe, task)
                else:
                    by_pipeline(probe, task).save(f"{task}.png")
            probe.record_image(f"image/{task}", f"{task}.png")


def command_line(probe: Probe, task: str, output: str) -> list[object]:
    """The words of a task's script, which writes the image ``output``."""
    words: list[object] = ["--model", task, "--output", output, "--steps", STEPS.get(task, 3)]
    words += ["--device", probe.device.type, *OPTIONS.get(task, [])]
    if task != "unconditional":
        words += ["--prompt", _prompt(task)]
    return words


def _by_script(probe: Probe, task: str) -> None:
    done = probe.script(f"{SCRIPTS}/{task}.py", command_line(probe, task, f"{task}.png"))
    assert f"{task}.png" in done.stdout, "the script says where it wrote"


def by_pipeline(probe: Probe, task: str) -> Any:
    import diffusers
    from diffusers.utils import load_image

    classes = {
        "image_to_image": diffusers.StableDiffusionImg2ImgPipeline,
        "inpaint": diffusers.StableDiffusionInpaintPipeline,
        "depth_to_image": diffusers.StableDiffusionDepth2ImgPipeline,
        "textual_inversion": diffusers.StableDiffusionPipeline,
    }
    pipeline = classes.get(task, diffusers.DiffusionPipeline).from_pretrained(task)
    pipeline = pipeline.to(probe.device)
    given: dict[str, Any] = {
        "num_inference_steps": STEPS.get(task, 3),
        "generator": torch.Generator("cpu").manual_seed(0),
    }
    if task != "unconditional":
        given["prompt"] = [_prompt(task)] if task == "text_to_image" else _prompt(task)
        given["guidance_scale"] = 6.0 if task == "text_to_image" else 7.5
    if task in ("image_to_image", "inpaint", "depth_to_image"):
        given["image"] = load_image("pictures/000.png")
    if task in ("image_to_image", "depth_to_image"):
        given["strength"] = 0.75 if task == "image_to_image" else 0.7
    if task == "inpaint":
        mask = load_image("pictures/mask.png")
        given |= {"mask_image": mask, "height": SIDE, "width": SIDE}
    if task == "textual_inversion":
        pipeline.load_textual_inversion("textual_inversion")
    return pipeline(**given).images[0]


def _prompt(task: str) -> str:
    return "a <toy> on a wall" if task == "textual_inversion" else PROMPT


def write_pictures(probe: Probe) -> None:
    """Write ``pictures/000.png``, and a mask of its middle beside it."""
    from PIL import Image

    image_folder(probe, probe.scratch / "pictures", 1, SIDE)
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (16, 16, 40, 48))
    mask.save(probe.scratch / "pictures" / "mask.png")
