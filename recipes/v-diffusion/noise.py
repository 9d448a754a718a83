"""What is really drawn: a sampler that adds noise at every step, from torch's own generators.

The model is elementwise, so no autocast touches it, and on every device the CPU's kernels compute
it: the images differ if and only if the noise does.
"""

from __future__ import annotations

import torch
from torch_alone import stand_in

from porter.verify.probe import Probe


def model(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return (0.7 * x + (3 * t).sin()[:, None, None, None]).tanh()


def run(probe: Probe) -> None:
    """Record the images of ddpm, ddim with eta 0.5, and cond_sample with eta 1.

    With ``shape`` they are of another one, and nothing else is recorded.
    """
    stand_in()
    from diffusion import sampling, utils

    t = torch.linspace(1, 0, probe.parameters["steps"] + 1)[:-1]
    t = utils.get_spliced_ddpm_cosine_schedule(t).to(probe.device)
    shape = probe.parameters.get("shape", [2, 3, 4, 6])
    x = probe.normal("x", *shape)
    for name, sample in {
        "ddpm": lambda: sampling.sample(model, x, t, 1.0, {}),
        "half": lambda: sampling.sample(model, x, t, 0.5, {}),
        "guided": lambda: sampling.cond_sample(
            model, x, t, 1.0, {}, lambda x, *_: torch.zeros_like(x)
        ),
    }.items():
        with probe.attempt(name):
            probe.seed_everything()
            probe.record(name, sample().detach())
            if "shape" not in probe.parameters:
                # as many numbers were drawn on the CPU as at level 0
                probe.record(f"{name}/next", torch.randn(4))
