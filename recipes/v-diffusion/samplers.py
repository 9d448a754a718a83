"""Every sampler from one step up, forward and in reverse, on a model of one line.

The model is a formula, so a run costs next to nothing, and what is looked at is the samplers alone:
what they make of the model's answers, at which timesteps they ask it, what their callbacks get.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from fixed_noise import fixed_noise
from torch_alone import stand_in

from porter.verify.probe import Probe

Model = Callable[..., torch.Tensor]


def formula(asked: list[torch.Tensor]) -> Model:
    """A velocity that depends on the image, its neighbours, the timestep and the extra argument.

    ``asked`` receives the timesteps of every call.
    """

    def model(x: torch.Tensor, t: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        asked.append(t)
        mixed = 0.6 * x + 0.3 * x.roll(1, -1) + shift
        return (mixed + (3 * t).sin()[:, None, None, None]).tanh()

    return model


def forward(method: str, model: Model, x: torch.Tensor, t: torch.Tensor, **more: Any) -> Any:
    """Sample with a method of the scripts; ``eta`` 1 is their ddpm, ``half`` is ddim's eta 0.5."""
    from diffusion import sampling

    etas = {"ddpm": 1.0, "half": 0.5, "ddim": 0.0}
    if method in etas:
        return sampling.sample(model, x, t, etas[method], **more)
    return getattr(sampling, f"{method}_sample")(model, x, t, **more)


def backward(method: str, model: Model, x: torch.Tensor, t: torch.Tensor, **more: Any) -> Any:
    """Find the noise of an image, as cfg_modify_image.py does."""
    from diffusion import sampling

    if method == "ddim":
        return sampling.reverse_sample(model, x, t, **more)
    return getattr(sampling, f"{method}_sample")(model, x, t, is_reverse=True, **more)


def guided(model: Model, x: torch.Tensor, t: torch.Tensor, **more: Any) -> Any:
    """Sample with upstream's cond_sample, which no script calls."""
    from diffusion import sampling

    def towards_zero(
        x: torch.Tensor, t: torch.Tensor, pred: torch.Tensor, shift: torch.Tensor
    ) -> torch.Tensor:
        del t, shift
        return torch.autograd.grad(-0.1 * (pred**2).sum(), x)[0]

    return sampling.cond_sample(model, x, t, 1.0, cond_fn=towards_zero, **more)


def schedule(probe: Probe, steps: int, start: float, end: float) -> torch.Tensor:
    from diffusion import utils

    t = torch.linspace(start, end, steps + 1, device=probe.device)
    return utils.get_spliced_ddpm_cosine_schedule(t)


class Followed:
    """One way of sampling, over several numbers of steps."""

    def __init__(self, probe: Probe, name: str) -> None:
        self.probe, self.name = probe, name
        self.asked: list[torch.Tensor] = []

    def run(self, sample: Callable[..., torch.Tensor], x: torch.Tensor, t: torch.Tensor) -> None:
        """Sample once; record the images and what the callback was told.

        Each number of steps is an output of its own: one step of prk gives images a thousand times
        as large as nine, and their errors would hide the others'.
        """
        shift = self.probe.normal("shift", 1, 3, 1, 1)
        told: list[torch.Tensor] = []

        def callback(state: dict[str, Any]) -> None:
            sums = torch.stack([state[key].sum() for key in sorted(state) if key != "i"])
            place = torch.tensor([state["i"], len(state)], dtype=self.probe.dtype)
            told.append(torch.cat([sums.detach().cpu().to(self.probe.dtype), place]))

        model = formula(self.asked)
        with fixed_noise(self.probe, self.name):
            out = sample(model, x, t, extra_args={"shift": shift}, callback=callback)
        self.probe.record(f"{self.name}/images/{len(t)}", out.detach())
        steps = len(t) - 1 if self.name.endswith("-reverse") else len(t)
        self.probe.record_calls(f"{self.name}/told/{len(t)}", told, steps)

    def finish(self) -> None:
        """Count the model's calls, and record the timesteps of all of them."""
        self.probe.count(f"{self.name}/model_calls", len(self.asked))
        if self.asked:
            self.probe.record(f"{self.name}/asked", torch.cat(self.asked))


def run(probe: Probe) -> None:
    """Record ``METHOD/...``, ``METHOD-reverse/...`` and ``guided/...``."""
    stand_in()
    noise = probe.normal("noise", 2, 3, 4, 6)
    image = probe.normal("image", 2, 3, 4, 6, scale=0.5)
    ways: list[tuple[str, Callable[..., torch.Tensor], torch.Tensor]] = [("guided", guided, noise)]
    ways += [(name, partial(forward, name), noise) for name in probe.parameters["methods"]]
    for name in probe.parameters["reversed"]:
        ways.append((f"{name}-reverse", partial(backward, name), image))
    for name, sample, x in ways:
        with probe.attempt(name):
            followed = Followed(probe, name)
            is_reverse = name.endswith("-reverse")
            for steps in probe.parameters["steps"]:
                t = schedule(probe, steps, 0, 1) if is_reverse else schedule(probe, steps, 1, 0)
                followed.run(sample, x, t if is_reverse else t[:-1])
            followed.finish()
