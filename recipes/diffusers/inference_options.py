"""What the inference scripts' options do, and what they say of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from inference import PROMPT, SCRIPTS, write_pictures
from small_pipelines import drawn, stable_diffusion
from task_pipelines import inpaint

from porter.verify.probe import Probe, ProbeError

IMAGE = ("--image", "pictures/000.png", "--steps", 4)
WRONG: dict[str, tuple[str, list[object], str]] = {
    "a picture that is not there": (
        "image_to_image",
        ["--image", "no.png"],
        "no such file: no.png",
    ),
    "no such mask": (
        "inpaint",
        ["--image", "pictures/000.png", "--mask", "no.png"],
        "--mask: no such file: no.png",
    ),
    "no picture": ("depth_to_image", [], "required: --image"),
    "no such device": ("unconditional", ["--device", "gpu"], "--device: Expected one of cpu, cuda"),
    "a device that is not there": (
        "unconditional",
        ["--device", "cuda"],
        "cuda is not there, found",
    ),
    "float16 on a cpu": (
        "text_to_image",
        ["--device", "cpu", "--dtype", "float16"],
        "float16 needs an accelerator",
    ),
    "no image": ("unconditional", ["--number", "0"], "--number: expected 1 or more, found 0"),
}


def run(probe: Probe) -> None:
    """Record images without the safety checker, of several at once, and in half precision."""
    write_pictures(probe)
    stable_diffusion(probe, "sd15", probe.scratch / "plain")
    plain = _pipeline("plain")
    type(plain)(**plain.components | _checker(probe)).save_pretrained("checked")
    inpaint(probe, _folder(probe, "inpaint"))
    if not (probe.tree / SCRIPTS).is_dir():  # the reference, before there were scripts
        _record_pipelines(probe)
        return
    with probe.attempt("image/unchecked"):
        _safety(probe)
    with probe.attempt("image/second"):
        _several(probe)
    with probe.attempt("image/half"):
        _half_precision(probe)
    for number, (script, words, expected) in enumerate(WRONG.values()):
        with probe.attempt(f"refused/{number}"):
            told = probe.script(f"{SCRIPTS}/{script}.py", words, expect=2).stderr
            if expected not in told:
                raise ProbeError(f"expected {expected!r} in what the script says, found {told!r}")
            probe.count("refused", 1)


def _folder(probe: Probe, name: str) -> Path:
    (probe.scratch / name).mkdir()
    return probe.scratch / name


def _pipeline(folder: str, **more: Any) -> Any:
    from diffusers import StableDiffusionImg2ImgPipeline

    return StableDiffusionImg2ImgPipeline.from_pretrained(folder, **more)


def _checker(probe: Probe) -> dict[str, Any]:
    """A safety checker that takes everything for unsafe."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2}
    config = CLIPConfig(
        text_config=small | heads,
        vision_config=small | heads | {"image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    checker = drawn(probe, StableDiffusionSafetyChecker(config), "checker")
    torch.nn.init.constant_(checker.concept_embeds_weights, -2.0)  # below any cosine
    size = {"crop_size": 32, "size": {"shortest_edge": 32}}
    return {"safety_checker": checker, "feature_extractor": CLIPImageProcessor(**size)}


def _record_pipelines(probe: Probe) -> None:
    from diffusers import StableDiffusionInpaintPipeline
    from diffusers.utils import load_image

    picture, mask = load_image("pictures/000.png"), load_image("pictures/mask.png")

    def images(pipeline: Any, seed: int, **more: Any) -> list[Any]:
        generator = torch.Generator("cpu").manual_seed(seed)
        made = pipeline(PROMPT, image=picture, num_inference_steps=4, generator=generator, **more)
        found: list[Any] = made.images
        return found

    plain = _pipeline("checked", safety_checker=None, requires_safety_checker=False)
    for name, make in {
        "unchecked": lambda: images(plain, 0)[0],
        "second": lambda: images(plain, 3, num_images_per_prompt=2)[1],
        "half": lambda: images(
            StableDiffusionInpaintPipeline.from_pretrained("inpaint"),
            0,
            mask_image=mask,
            height=picture.height,
            width=picture.width,
        )[0],
    }.items():
        with probe.attempt(f"image/{name}"):
            make().save(f"{name}.png")
            probe.record_image(f"image/{name}", f"{name}.png")


def _run(probe: Probe, script: str, *words: object) -> None:
    """Without ``--device``: the accelerator that is found, else the CPU."""
    probe.script(f"{SCRIPTS}/{script}.py", ["--prompt", PROMPT, *words])


def _safety(probe: Probe) -> None:
    from PIL import Image

    given = ("--model", "checked", *IMAGE, "--output")
    _run(probe, "image_to_image", *given, "checked.png")
    if Image.open("checked.png").getextrema() != ((0, 0),) * 3:
        raise ProbeError("the safety checker painted nothing black")
    _run(probe, "image_to_image", *given, "new/unchecked.png", "--no_safety_checker")
    probe.record_image("image/unchecked", "new/unchecked.png")


def _several(probe: Probe) -> None:
    _run(
        probe, "image_to_image", "--model", "plain", *IMAGE, "--seed", 3, "--number", 2,
        "--output", "several.png",
    )  # fmt: skip
    probe.record_image("image/second", "several-1.png")


def _half_precision(probe: Probe) -> None:
    """bfloat16 on the CPU; float16 with flash attention on a device, by script and by pipeline."""
    on_cpu = probe.device.type == "cpu"
    words = ["--dtype", "bfloat16" if on_cpu else "float16"]
    if not on_cpu:
        words.append("--enable_npu_flash_attention")
    given = ("--model", "inpaint", *IMAGE, "--mask", "pictures/mask.png", "--output", "half.png")
    _run(probe, "inpaint", *given, *words)
    probe.record_image("image/half", "half.png")
    if not on_cpu:
        with probe.attempt("pipeline"):
            _check_pipeline(any_head=probe.device.type == "hpu")


def _check_pipeline(any_head: bool) -> None:
    """Disabling brings all back; a model that cannot be served is refused and left as it was.

    The NPU's kernel takes no heads of 8; with ``any_head`` the device's takes them.
    """
    from diffusers import StableDiffusionInpaintPipeline

    kinds = {}
    pipeline = StableDiffusionInpaintPipeline.from_pretrained("inpaint")
    for name in ("enable_npu_flash_attention", "disable_npu_flash_attention"):
        getattr(pipeline, name)()
        models = {"unet": pipeline.unet, "vae": pipeline.vae}
        kinds[name] = {part: _processors(model) for part, model in models.items()}
    on, off = kinds.values()
    if on["unet"] != {"FlashAttnProcessor"} or "FlashAttnProcessor" in on["vae"] | off["unet"]:
        raise ProbeError(f"processors: {kinds}")
    narrow = _pipeline("plain")
    before = _processors(narrow.unet)
    if any_head:
        narrow.enable_npu_flash_attention()
        if _processors(narrow.unet) != {"FlashAttnProcessor"}:
            raise ProbeError(f"heads of 8: {_processors(narrow.unet)}")
        return
    try:
        narrow.enable_npu_flash_attention()
    except ValueError as error:
        if "found 8" not in str(error) or _processors(narrow.unet) != before:
            raise ProbeError(f"heads of 8: {error}, {_processors(narrow.unet)}") from error
        return
    raise ProbeError("flash attention took heads of 8")


def _processors(model: Any) -> set[str]:
    from diffusers.models.attention_processor import Attention

    layers = [module for module in model.modules() if isinstance(module, Attention)]
    return {type(layer.processor).__name__ for layer in layers}
