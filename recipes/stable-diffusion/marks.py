"""How many graphs a lazy device makes of each sampler: as many as there are marks, and waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import small
import torch

from porter.verify.probe import Probe

BATCH, SHAPE = 2, (4, 4, 4)


def run(probe: Probe) -> None:
    """Count the graphs of each way of sampling; results are the other recipes' matter."""
    from ldm.models.diffusion.ddim import DDIMSampler
    from ldm.models.diffusion.plms import PLMSSampler

    model = small.build(probe, small.without_stages()).to(probe.device)
    probe.seed_everything()
    ddim, plms = DDIMSampler(model), PLMSSampler(model)
    c, uc = probe.normal("c", BATCH, 7, 32), probe.normal("uc", BATCH, 7, 32)
    x = probe.normal("x", BATCH, *SHAPE)
    asked: dict[str, Any] = {"batch_size": BATCH, "shape": SHAPE, "conditioning": c}
    asked |= {"unconditional_conditioning": uc, "unconditional_guidance_scale": 3.0}
    asked |= {"S": probe.parameters["steps"], "verbose": False}
    drawn = {**asked, "eta": 0.7}
    plain = {**asked, "unconditional_guidance_scale": 1.0}
    some = probe.parameters["encoded"]
    ways: dict[str, Callable[[], Any]] = {
        "ddim": lambda: ddim.sample(**asked),
        "ddim-plain": lambda: ddim.sample(**plain),
        "ddim-drawn": lambda: ddim.sample(**drawn),
        "plms": lambda: plms.sample(**asked),
        "encode": lambda: ddim.encode(x, c, some),
        "encode-guided": lambda: ddim.encode(
            x, c, some, unconditional_guidance_scale=2.0, unconditional_conditioning=uc
        ),
        "decode": lambda: ddim.decode(x, c, some, 2.0, uc),
        "ddpm": lambda: model.p_sample_loop(c, (BATCH, *SHAPE), verbose=False, timesteps=some),
    }
    for name, sample in ways.items():
        with probe.attempt(name):
            with probe.section(name):
                out = sample()
            probe.record(name, out[0] if isinstance(out, tuple) else out)
        torch.manual_seed(0)
