"""txt2img.py and img2img.py where autocast leaves even the finished images in bfloat16.

Gaudi's own autocast lists widen them (a division is computed in float32); a user's lists may not.
numpy has no bfloat16. The lists:
https://docs.habana.ai/en/latest/PyTorch/PyTorch_Mixed_Precision/index.html
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import draws
import small
import torch
from PIL import Image
from text_to_image import record_folder

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Record what both scripts leave; on Gaudi the clamp that ends a batch answers in bfloat16."""
    small.write_vocabulary(probe.scratch)
    small.write_model(
        probe, small.text_to_image(), probe.scratch / "small.yaml", probe.scratch / "small.ckpt"
    )
    Image.new("RGB", (64, 32), (200, 120, 40)).save(probe.scratch / "init.png")
    clamp, narrowed = torch.clamp, 0

    def narrow_clamp(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal narrowed
        out = clamp(x, *args, **kwargs)
        if out.device.type != "hpu" or not torch.is_autocast_enabled("hpu"):
            return out
        narrowed += 1
        return out.to(torch.bfloat16)

    shared = ["--ddim_steps", "4", "--n_samples", "2", "--config", "small.yaml"]
    shared += ["--ckpt", "small.ckpt", "--prompt", small.PROMPT, "--precision", "autocast"]
    ways = {
        "txt2img": ["--H", "32", "--W", "64", "--n_iter", "1"],
        "img2img": ["--init-img", "init.png", "--strength", "0.75", "--n_iter", "1"],
    }
    with mock.patch.object(torch, "clamp", narrow_clamp), draws.watched(probe, on_the_cpu=True):
        for name, words in ways.items():
            with probe.attempt(name):
                probe.script(f"scripts/{name}.py", [*words, *shared, "--outdir", f"out/{name}"])
                record_folder(probe, name, probe.scratch / "out" / name, images=True)
    probe.count("narrowed", narrowed)
