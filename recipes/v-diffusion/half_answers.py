"""Every sampler on a model that answers in half precision, as the scripts' models do on a device.

The samplers widen the answer before they go on. Its values are multiples of 1/8, which half
precision holds exactly: what then differs from float32 is what a sampler made of them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from fixed_noise import fixed_noise
from samplers import backward, forward, guided, schedule
from torch_alone import stand_in

from porter.verify.probe import Probe, ProbeError


def coarse(x: torch.Tensor, t: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """A velocity of the image's shape in bfloat16, with the gradient of one that is not rounded."""
    v = (0.6 * x + 0.3 * x.roll(1, -1) + shift + (3 * t).sin()[:, None, None, None]).tanh()
    return (v + ((8 * v).round() / 8 - v).detach()).to(torch.bfloat16)


def run(probe: Probe) -> None:
    """Record ``METHOD/images``, and count what callbacks got in half precision."""
    stand_in()
    x = probe.normal("noise", 2, 3, 4, 6)
    ways: dict[str, Any] = {"guided": guided}
    ways |= {name: partial(forward, name) for name in probe.parameters["methods"]}
    ways |= {f"{name}-reverse": partial(backward, name) for name in probe.parameters["reversed"]}
    shift = probe.normal("shift", 1, 3, 1, 1)
    for name, sample in ways.items():
        met: list[torch.dtype] = []

        def callback(state: dict[str, Any], met: list[torch.dtype] = met) -> None:
            met += [state[key].dtype for key in ("x", "v", "pred") if key in state]

        ends = (0, 1) if name.endswith("-reverse") else (1, 0)
        with probe.attempt(name), fixed_noise(probe, name):
            t = schedule(probe, probe.parameters["steps"], *ends)[:-1]
            images = sample(coarse, x, t, extra_args={"shift": shift}, callback=callback)
            probe.record(f"{name}/images", images.detach())
            if not met:
                raise ProbeError(f"{name}: the callback was called 0 times")
            probe.count(f"{name}/half", met.count(torch.bfloat16))
