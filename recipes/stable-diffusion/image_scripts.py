"""scripts/img2img.py, inpaint.py and sample_diffusion.py, run as a user runs them."""

from __future__ import annotations

from pathlib import Path

import draws
import small
import torch
from PIL import Image

from porter.verify.probe import Probe


def _picture(probe: Probe, name: str, width: int, height: int) -> Image.Image:
    """A picture of smooth colours, the same at every level."""
    coarse = torch.rand(3, 4, 4, generator=probe.generator(name))
    fine = torch.nn.functional.interpolate(coarse[None], size=(height, width), mode="bilinear")[0]
    values = (fine * 255).to(torch.uint8).permute(1, 2, 0).contiguous()
    return Image.frombytes("RGB", (width, height), bytes(values.flatten().tolist()))


def _img2img(probe: Probe, precision: str) -> Path:
    small.write_vocabulary(probe.scratch)
    small.write_model(
        probe, small.text_to_image(), probe.scratch / "text.yaml", probe.scratch / "text.ckpt"
    )
    _picture(probe, "init", 70, 40).save(probe.scratch / "init.png")  # resized to 64 x 32
    words = "--init-img init.png --strength 0.75 --ddim_steps 4 --n_samples 2 --precision"
    files = ["--config", "text.yaml", "--ckpt", "text.ckpt", "--outdir", precision]
    given = ["--prompt", small.PROMPT, *words.split(), precision, *files]
    probe.script("scripts/img2img.py", given)
    return probe.scratch / precision


def _inpaint(probe: Probe) -> Path:
    home = probe.scratch / "models" / "ldm" / "inpainting_big"
    small.write_model(probe, small.inpainting(), home / "config.yaml", home / "last.ckpt")
    given = probe.scratch / "holes"
    given.mkdir()
    for name in ("one", "two"):
        _picture(probe, name, 32, 32).save(given / f"{name}.png")
        mask = Image.new("L", (32, 32), 0)
        mask.paste(255, (8, 4, 24, 20) if name == "one" else (0, 16, 32, 32))
        mask.save(given / f"{name}_mask.png")
    probe.script("scripts/inpaint.py", ["--indir", "holes", "--outdir", "inpaint", "--steps", "4"])
    return probe.scratch / "inpaint"


def _unconditional(probe: Probe, name: str, timesteps: int, words: str) -> Path:
    home = probe.scratch / name
    small.write_model(
        probe, small.unconditional(timesteps), home / "config.yaml", home / "model.ckpt"
    )
    given = ["-r", f"{name}/model.ckpt", "-n", "4", "--batch_size", "2", *words.split()]
    probe.script("scripts/sample_diffusion.py", given)
    (made,) = (home / "samples" / "00000007").iterdir()  # named for the time of day
    return made / "img"


def run(probe: Probe) -> None:
    """Run what ``parameters.scripts`` names and record its images and all that it drew."""
    for name in probe.parameters["scripts"]:
        with probe.attempt(name):
            _record(probe, name)


def _record(probe: Probe, name: str) -> None:
    with draws.watched(probe, on_the_cpu=True) as drawn:
        if name == "img2img":
            folder = _img2img(probe, "full")
        elif name == "autocast":
            folder = _img2img(probe, "autocast")
        elif name == "inpaint":
            folder = _inpaint(probe)
        elif name == "ddim":
            folder = _unconditional(probe, name, 1000, "-c 4 -e 1.0")
        else:  # DDPM's own loop, of as many steps as the model was trained for
            folder = _unconditional(probe, name, 4, "-v")
    probe.record_files(f"{name}/files", folder)
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as image:
            probe.record_image(f"{name}/{path.relative_to(folder)}", image)
    probe.record(f"{name}/noise", draws.as_one(drawn))
