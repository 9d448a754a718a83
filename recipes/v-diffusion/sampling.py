"""Whole sampling runs through upstream's samplers, with a prompt and its guidance weight."""

from __future__ import annotations

from collections.abc import Callable

import torch
from narrow import narrow
from torch_alone import stand_in

from porter.verify.probe import Probe


def guided(
    probe: Probe, model: torch.nn.Module, weight: float
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The model's answer without a prompt and with one, weighted as classifier-free guidance is."""
    prompt = probe.normal("prompt", 1, 512)
    embeddings = torch.cat([torch.zeros_like(prompt), prompt])

    def answer(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        probe.count("model_calls", 1)
        each = embeddings.repeat_interleave(len(x), 0)
        without, with_prompt = model(x.repeat(2, 1, 1, 1), t.repeat(2), each).chunk(2)
        return without + weight * (with_prompt - without)

    return answer


def run(probe: Probe) -> None:
    """Record the timesteps and, for every sampler, the images it ends with."""
    stand_in()
    from diffusion import sampling, utils

    # A gain below 1 keeps the model's velocities near those of a trained one, so that the
    # samplers' extrapolation stays tame.
    model = probe.alive(narrow("cc12m_1", probe.parameters["factor"]), gain=0.5)
    model = guided(probe, model, probe.parameters["weight"])
    height, width = probe.parameters["size"]
    noise = probe.normal("noise", 2, 3, height, width)
    for name, count in probe.parameters["steps"].items():
        t = torch.linspace(1, 0, count + 1, device=probe.device)[:-1]
        steps = utils.get_spliced_ddpm_cosine_schedule(t)
        with probe.attempt(name):
            probe.record(f"{name}/timesteps", steps)
            if name == "ddim":
                images = sampling.sample(model, noise, steps, 0.0, {})
            else:
                images = getattr(sampling, f"{name}_sample")(model, noise, steps, {})
            probe.record(f"{name}/images", images)
