"""The DDIM and PLMS samplers themselves: what scripts do not reach, and any order of inputs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import draws
import small
import torch

from porter.verify.probe import Probe, ProbeError

SHAPE = (4, 4, 4)


@contextlib.contextmanager
def alone(probe: Probe, name: str) -> Iterator[None]:
    """Attempt ``name``, with draws that depend on nothing before it."""
    with probe.attempt(name):
        probe.seed_everything()
        yield


def _conditioning(probe: Probe, label: str, batch: int) -> torch.Tensor:
    return probe.normal(label, batch, 7, 32)


def _guided(probe: Probe, batch: int, scale: float = 3.0) -> dict[str, Any]:
    return {
        "conditioning": _conditioning(probe, "c", batch),
        "unconditional_conditioning": _conditioning(probe, "uc", batch),
        "unconditional_guidance_scale": scale,
    }


def _schedules(probe: Probe) -> None:
    """For every number of steps asked for: how many there are, the first, the second, the last."""
    from ldm.modules.diffusionmodules.util import make_ddim_timesteps

    rows = []
    for steps in range(1, 1001):
        made = make_ddim_timesteps("uniform", steps, 1000, verbose=False)
        rows.append([len(made), int(made[0]), int(made[min(1, len(made) - 1)]), int(made[-1])])
    probe.record("schedules", torch.tensor(rows))


def _asked_and_made(probe: Probe, sampler: Any) -> None:
    """Where upstream's rounding adds steps, and where its last step is one too many for it."""
    told = []
    for steps in (1, 2, 3, 6, 7, 9, 27, 50, 111, 333, 1000):
        try:
            sampler.make_schedule(ddim_num_steps=steps, verbose=False)
            told.append(f"{steps}: {len(sampler.ddim_timesteps)} steps")
        except IndexError as error:
            told.append(f"{steps}: {error}")
    probe.record_text("asked-and-made", "\n".join(told))


def _ddim(probe: Probe, sampler: Any) -> None:
    ask = {"S": 4, "batch_size": 2, "shape": SHAPE, "verbose": False}
    half = torch.zeros(2, 1, 4, 4)
    half[:, :, :, 2:] = 1
    cases: dict[str, dict[str, Any]] = {
        "plain": {"conditioning": _conditioning(probe, "c", 2)},
        "guided": _guided(probe, 2),
        "eta": {**_guided(probe, 2), "eta": 1.0, "temperature": 0.8},
        "dropout": {**_guided(probe, 2), "eta": 0.7, "noise_dropout": 0.3},
        "masked": {
            **_guided(probe, 2),
            "mask": half.to(probe.device),
            "x0": probe.normal("x0", 2, *SHAPE),
        },
        "threshold": {**_guided(probe, 2), "dynamic_threshold": 0.9},
        "listed": {
            **_guided(probe, 2),
            "conditioning": {"c_crossattn": [_conditioning(probe, "c", 2)]},
            "unconditional_conditioning": {"c_crossattn": [_conditioning(probe, "uc", 2)]},
        },
        "given": {**_guided(probe, 2), "x_T": probe.normal("x_T", 2, *SHAPE)},
    }
    for name, options in cases.items():
        with alone(probe, f"ddim/{name}"):
            samples, between = sampler.sample(**ask, **options)
            probe.record(f"ddim/{name}", samples)
            probe.record(f"ddim/{name}/pred_x0", between["pred_x0"][-1])


def _there_and_back(probe: Probe, sampler: Any) -> None:
    """encode, stochastic_encode and decode: all that img2img.py uses, and more."""
    sampler.make_schedule(ddim_num_steps=5, verbose=False)
    x0, guided = probe.normal("x0", 2, *SHAPE), _guided(probe, 2)
    c, uc = guided["conditioning"], guided["unconditional_conditioning"]
    with alone(probe, "encode"):
        noisy, _ = sampler.encode(x0, c, 3)
        probe.record("encode", noisy)
        noisy, _ = sampler.encode(
            x0, c, 3, unconditional_guidance_scale=2.0, unconditional_conditioning=uc
        )
        probe.record("encode/guided", noisy)
    with alone(probe, "stochastic_encode"):
        noisy = sampler.stochastic_encode(x0, torch.tensor([3, 3]).to(probe.device))
        probe.record("stochastic_encode", noisy)
    noisy = probe.normal("noisy", 2, *SHAPE)  # what follows is independent of it
    with alone(probe, "decode"):
        probe.record("decode", sampler.decode(noisy, c, 3, 2.0, uc))
        probe.record("decode/plain", sampler.decode(noisy, c, 2))
        probe.record("decode/listed", sampler.decode(noisy, [c], 3))
    with alone(probe, "stepped"):
        sampler.make_schedule(ddim_num_steps=5, ddim_eta=1.0, verbose=False)
        step = torch.tensor([401, 401]).to(probe.device)
        stepped, _ = sampler.p_sample_ddim(noisy, c, step, 2, repeat_noise=True)
        probe.record("stepped", stepped)


def _few_steps(probe: Probe, sampler: Any) -> None:
    """PLMS takes its first step twice; with one step, and two, its next step is the last."""
    for steps in (1, 2):
        with alone(probe, f"plms/{steps}"):
            samples, _ = sampler.sample(
                S=steps, batch_size=2, shape=SHAPE, verbose=False, **_guided(probe, 2)
            )
            probe.record(f"plms/{steps}", samples)


def _orders(probe: Probe, sampler: Any, title: str) -> None:
    """Batch sizes, heights, widths and guidance that change from call to call, and come back."""
    asked = [(2, 4, 4, 3.0), (1, 4, 4, 3.0), (2, 4, 4, 1.0), (2, 8, 4, 3.0), (2, 4, 8, 3.0),
             (2, 4, 4, 3.0), (1, 4, 4, 3.0)]  # fmt: skip
    for number, (batch, height, width, scale) in enumerate(asked):
        with alone(probe, f"{title}/orders/{number}"):
            samples, _ = sampler.sample(
                S=4,
                batch_size=batch,
                shape=(4, height, width),
                verbose=False,
                **_guided(probe, batch, scale),
            )
            probe.record(f"{title}/orders/{number}", samples)


def _weights_change(probe: Probe, model: Any, sampler: Any) -> None:
    """Weights that change in place between calls, as ema_scope changes them; autocast ends too."""
    ask = {"S": 4, "batch_size": 2, "shape": SHAPE, "verbose": False, **_guided(probe, 2)}
    weight = next(model.parameters())
    for number, factor in enumerate((1.0, 1.5, 1.0)):
        weight.data.copy_(weight.data * factor)
        with alone(probe, f"weights/{number}"), torch.autocast("cuda", dtype=torch.bfloat16):
            samples, _ = sampler.sample(**ask)
            probe.record(f"weights/{number}", samples.float())


def run(probe: Probe) -> None:
    """Record what both samplers give."""
    small.migrate(probe.tree, probe.device_name)
    from ldm.models.diffusion.ddim import DDIMSampler
    from ldm.models.diffusion.plms import PLMSSampler

    model = small.build(probe, small.without_stages()).to(probe.device)
    probe.seed_everything()
    with draws.watched(probe, on_the_cpu=True) as drawn:
        ddim, plms = DDIMSampler(model), PLMSSampler(model)
        with probe.attempt("schedules"):
            _schedules(probe)
        with probe.attempt("asked-and-made"):
            _asked_and_made(probe, ddim)
        _ddim(probe, ddim)
        _there_and_back(probe, ddim)
        _orders(probe, ddim, "ddim")
        _orders(probe, plms, "plms")
        _few_steps(probe, plms)
        _weights_change(probe, model, ddim)
    with probe.attempt("noise"):
        if probe.failures:
            raise ProbeError(f"a part that failed drew less: {', '.join(probe.failures)}")
        probe.record("noise", draws.as_one(drawn))
    probe.count("autocast_cache", int(torch.is_autocast_cache_enabled()))
    graphs = sys.modules.get("ldm.modules.graphs")
    if graphs is not None:
        probe.count("graphs_held", max(len(held) for held in graphs._models.values()))
