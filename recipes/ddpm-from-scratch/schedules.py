"""One training step at chosen timesteps of each schedule, with the default weight of its losses."""

from __future__ import annotations

from typing import Any

import torch
from small import cpu_noise, small_model
from training import launched, train, trainer
from upstream_bugs import chosen_timesteps

from porter.verify.probe import Probe

RELATIVE = 2e-3
"""How near a variance is: 1 minus a product of 0.9999 has only three digits in float32."""


def gradient_norm(made: Any) -> torch.Tensor:
    """The norm of the gradient that the optimizer took its last step with.

    AdamW's first moment after one step is a tenth of it (``beta1`` 0.9); ``zero_grad`` has
    dropped the gradient itself.
    """
    moments = [state["exp_avg"] for state in made.optim.state.values()]
    return 10 * torch.cat([moment.flatten().float().cpu() for moment in moments]).norm()


def posterior_variances(timesteps: int) -> torch.Tensor:
    """The linear schedule's posterior variances in float64, the first clipped to the second.

    Of shape (T,). Ho et al., Denoising Diffusion Probabilistic Models (2020), equation 7; clipped
    as the code of Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models (2021),
    clips them for their logarithm.
    """
    betas = torch.linspace(1e-4, 0.02, timesteps, dtype=torch.float64)
    products = torch.cumprod(1 - betas, 0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), products[:-1]])
    variances = (1 - before) / (1 - products) * betas
    return torch.cat([variances[1:2], variances[1:]])


def run(probe: Probe) -> None:
    """Record losses and gradient norms of a step, one element for each chosen timestep."""
    schedule, timesteps = probe.parameters["schedule"], probe.parameters["timesteps"]
    recorded: dict[str, list[float]] = {"mean": [], "variance": [], "gradient_norm": []}
    for chosen in probe.parameters["chosen"]:
        model = small_model(probe, ("res",), schedule=schedule, timesteps=timesteps)
        with cpu_noise(probe), launched(probe), chosen_timesteps(chosen):
            made = trainer(probe, model)
            train(probe, made, 1, f"at-{chosen}")
        norm = float(gradient_norm(made))
        recorded["mean"].append(float(made.losses_mean[-1]))
        recorded["variance"].append(float(made.losses_var[-1]))
        recorded["gradient_norm"].append(norm)
        probe.count("unbounded_gradients", int(not norm < probe.parameters["bound"]))
    for name, numbers in recorded.items():
        probe.record(name, torch.tensor(numbers, dtype=torch.float64))
    if schedule == "linear":
        found = model.scheduler.beta_tilde_t.flatten().double().cpu()
        expected = posterior_variances(timesteps)
        far = (found - expected).abs() > RELATIVE * expected
        probe.count("posterior_variances_off", int(far.sum()))
