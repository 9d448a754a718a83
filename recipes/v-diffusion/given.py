"""What the three scripts give their models, as numbers, and how many graphs they make of it.

An image of a guided sample hardly tells how the pictures for CLIP were normalized, or whether one
embedding of several was wrong: the model's own answer outweighs it. So the first call of the model
with prompts is recorded, and every picture that CLIP's image encoder is shown up to the first one
that guides.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from small_parts import picture, small_parts

from porter.verify.probe import Probe

SHOWN = 2
"""Calls of the image encoder to record: the prompt that is an image, and the first guided step."""


@contextmanager
def recorded(probe: Probe, case: str) -> Iterator[None]:
    """Record what the model is first called with, and what CLIP's image encoder is shown.

    Nothing is read back before the end: that would end lazy graphs in the script's place.
    """
    from CLIP.clip.model import VisionTransformer
    from diffusion.models.cc12m_1 import CC12M1Model

    shown: list[torch.Tensor] = []
    given: dict[str, torch.Tensor] = {}
    encode, answer = VisionTransformer.forward, CC12M1Model.forward

    def encoding(encoder: Any, image: torch.Tensor) -> torch.Tensor:
        if len(shown) < SHOWN:
            shown.append(image.detach().clone())
        return encode(encoder, image)

    def answering(
        model: Any, input: torch.Tensor, timestep_embed: torch.Tensor, clip_embed: torch.Tensor
    ) -> torch.Tensor:
        if not given and len(clip_embed) > 1:  # an image is noised with one row, and no prompt
            times = timestep_embed[:, None].expand(len(input), input[0].numel())
            given["image-and-time"] = torch.cat([input.flatten(1), times], 1).float()
            given["embedding"] = clip_embed.clone()
        return answer(model, input, timestep_embed, clip_embed)

    VisionTransformer.forward, CC12M1Model.forward = encoding, answering
    try:
        yield
    finally:
        VisionTransformer.forward, CC12M1Model.forward = encode, answer
    for i, image in enumerate(shown):
        probe.record(f"{case}/shown/{i}", image.float())
    for name, value in given.items():
        probe.record(f"{case}/{name}", value)


def run(probe: Probe) -> None:
    """Run the scripts: several prompts, one of them an image, more images than a batch."""
    import CLIP.clip  # noqa: F401

    image = picture(probe, probe.scratch / "image.png")
    device = ["--device", probe.device.type] if probe.device.type in ("hpu", "npu") else []
    prompts = ["a tower:2", "fog"]
    shared = ["--method", "ddim", "--steps", "2", "--images", f"{image}:0.5", *device]
    cases = {
        "cfg": ["cfg_sample.py", *prompts, "-n", "3", "-bs", "2", *shared],
        "clip": ["clip_sample.py", *prompts, "-n", "3", "-bs", "2", "--cutn", "2", *shared],
        "modify": ["cfg_modify_image.py", image, *prompts, *shared],
    }
    with small_parts(probe, probe.parameters["factor"], probe.parameters["size"]):
        for name, (script, *words) in cases.items():
            with probe.attempt(name), recorded(probe, name), probe.section(name):
                probe.script(script, words, cwd=name)
