"""The schedules' timesteps, swept densely, and the one function under them, at its end points."""

from __future__ import annotations

import torch
from aten_calls import AtenCalls
from torch_alone import stand_in

from porter.verify.probe import Probe


def pairs(points: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(alpha, sigma) of the unit half circle's upper side, t from 0 to 2, in float64.

    The numbers have 8 significant bits, and those too small for float16 are left out: what is
    measured is the function, not the rounding of its operands.
    """
    angle = torch.linspace(0, torch.pi, points, dtype=torch.float64)
    alpha, sigma = (f(angle).bfloat16().double() for f in (torch.cos, torch.sin))
    small = 2.0**-14
    fits = ((alpha.abs() >= small) | (alpha == 0)) & ((sigma >= small) | (sigma == 0))
    return alpha[fits], sigma[fits]


def run(probe: Probe) -> None:
    """Record ``schedule/...`` over t, ``pairs/...`` over exact operands, ``ends``."""
    stand_in()
    from diffusion import utils

    def cast(x: torch.Tensor) -> torch.Tensor:
        return x.to(probe.device, probe.dtype)

    points = probe.parameters["points"]
    t = cast(torch.linspace(0, 1, points, dtype=torch.float64))
    counted = AtenCalls()
    with counted:
        for name, made in {
            "spliced": lambda: utils.get_spliced_ddpm_cosine_schedule(t),
            "ddpm": lambda: utils.get_ddpm_schedule(t),
            "log": lambda: utils.get_log_schedule(t),
            # sigma, then alpha, far below what the sigmoid keeps apart from 0 and 1
            "log-wide": lambda: utils.get_log_schedule(t, -120, 120),
            "cosine": lambda: utils.alpha_sigma_to_t(*utils.t_to_alpha_sigma(t)),
        }.items():
            with probe.attempt(f"schedule/{name}"):
                probe.record(f"schedule/{name}", made())
        with probe.attempt("pairs/half-circle"):
            alpha, sigma = pairs(points)
            turned = cast(alpha), cast(sigma)
            probe.record("pairs/half-circle", utils.alpha_sigma_to_t(*turned))
        ratio = torch.logspace(-13, 13, points, base=2, dtype=torch.float64).bfloat16().double()
        one = torch.ones_like(ratio)
        for name, a, s in (("small", one, ratio), ("large", ratio, one)):
            below = ratio < 1
            with probe.attempt(f"pairs/{name}-sigma"):
                got = utils.alpha_sigma_to_t(cast(a[below]), cast(s[below]))
                # relative to the operand, so that no timestep is too small to count
                probe.record(f"pairs/{name}-sigma", got / cast(ratio[below]))
        ends = torch.tensor(
            [[0, 1], [-0.0, 1], [1, 0], [2.0**-14, 0.5], [-(2.0**-14), 0.5], [1, 2.0**-14]],
            dtype=torch.float64,
        )
        with probe.attempt("ends"):
            probe.record("ends", utils.alpha_sigma_to_t(cast(ends[:, 0]), cast(ends[:, 1])))
    probe.count("atan2_calls", counted.calls["atan2"])
    probe.count("atan_calls", counted.calls["atan"])
