"""What the scripts load, small: a checkpoint of a narrow model, a CLIP, an image to start from.

The scripts and their imports stay the level's own. Replaced are the model's constructor (the same
architecture, narrower, for smaller images), the place of its checkpoint, and what CLIP's `load`
downloads (its own classes read a state dict that is made here).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from narrow import narrow

from porter.verify.probe import Probe

GAIN = 0.25
"""Below 1 the model's answers stay near those of a trained one, and its images within range."""


def settle(probe: Probe, module: torch.nn.Module, label: str, gain: float) -> torch.nn.Module:
    """Give a module numbers of the probe's, in float32 on the CPU."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            numbers = torch.randn(parameter.shape, generator=probe.generator(label, name))
            if parameter.dim() >= 2:
                parameter.copy_(numbers * gain / math.sqrt(math.prod(parameter.shape[1:])))
            elif name.endswith("weight"):
                parameter.copy_(1 + 0.1 * numbers)
            else:
                parameter.copy_(0.1 * numbers)
    return module


def small_clip(probe: Probe) -> Path:
    """Write the state dict of a small CLIP: embeddings of 512, images of 32x32, the vocabulary."""
    from CLIP.clip.model import CLIP

    path = probe.scratch / "clip.pt"
    clip = settle(probe, CLIP(512, 32, 1, 64, 16, 77, 49408, 64, 1, 1), "clip", 0.5)
    torch.save(clip.state_dict(), path)
    return path


def picture(probe: Probe, path: Path) -> Path:
    """Write a smooth image, 90 x 70."""
    from PIL import Image

    coarse = torch.rand(1, 3, 5, 6, generator=probe.generator("picture"))
    fine = torch.nn.functional.interpolate(coarse, (70, 90), mode="bicubic").clamp(0, 1)
    pixels = (fine[0] * 255).byte().permute(1, 2, 0).contiguous()
    Image.frombytes("RGB", (90, 70), bytes(pixels.flatten().tolist())).save(path)
    return path


@contextmanager
def small_parts(probe: Probe, factor: int, size: int) -> Iterator[None]:
    """Serve the small parts inside: every model narrowed by ``factor``, its images ``size``
    square."""
    from CLIP import clip as package  # whose `load` the scripts call
    from CLIP.clip import clip
    from diffusion.models import models

    constructors = dict(models.models)

    def small(name: str) -> Callable[[], torch.nn.Module]:
        def build() -> torch.nn.Module:
            models.models.update(constructors)
            try:
                model = narrow(name, factor)
            finally:
                models.models.update({each: small(each) for each in constructors})
            model.shape = (3, size, size)  # type: ignore[assignment]
            return model

        return build

    def load(path: Any, *args: Any, **kwargs: Any) -> Any:
        name = Path(path).stem if isinstance(path, str | Path) else ""
        if name not in constructors:
            return real_load(path, *args, **kwargs)
        return settle(probe, small(name)(), "checkpoint", GAIN).state_dict()

    def load_clip(*args: Any, jit: bool = False, **kwargs: Any) -> Any:
        if jit:  # a published CLIP would come as TorchScript, which the devices do not run
            raise RuntimeError("the small CLIP is no TorchScript archive: load it with jit=False")
        return real_clip(*args, jit=jit, **kwargs)

    real_load, real_download, real_clip = torch.load, clip._download, package.load
    clip_path = small_clip(probe)
    torch.load, clip._download, package.load = load, lambda *_: str(clip_path), load_clip
    models.models.update({name: small(name) for name in constructors})
    try:
        yield
    finally:
        torch.load, clip._download, package.load = real_load, real_download, real_clip
        models.models.update(constructors)
