"""Calls of the model that must not become graphs: with gradients, on the CPU, in split inputs.

And one that cannot become one, because it copies from the host.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import draws
import small
import torch

from porter.verify.probe import Probe

CALLS = 3
_SPLIT = {
    "ks": (4, 4),
    "stride": (2, 2),
    "vqf": 1,
    "patch_distributed_vq": False,
    "tie_braker": False,
    "clip_min_weight": 0.01,
    "clip_max_weight": 0.5,
}


def _call(model: Any, x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
    """The model's work, by the way that samplers take at this level."""
    try:
        from ldm.modules import graphs
    except ImportError:
        return model.apply_model(x, t, cond)  # type: ignore[no-any-return]
    return graphs.apply_model(model, x, t, cond)  # type: ignore[no-any-return]


def run(probe: Probe) -> None:
    """Each call often enough for a graph to be replayed; the inputs change from call to call."""
    from ldm.models.diffusion.ddim import DDIMSampler

    probe.seed_everything()
    model = small.build(probe, small.without_stages()).to(probe.device)
    cond = probe.normal("cond", 2, 7, 32)
    t = torch.tensor([3, 700]).to(probe.device)
    with probe.attempt("gradient"), probe.section("gradients"):
        for number in range(CALLS):
            x = probe.normal(f"x{number}", 2, 4, 4, 4).requires_grad_()
            _call(model, x, t, cond).square().sum().backward()
            probe.record(f"gradient/{number}", x.grad)
    model.split_input_params = _SPLIT
    with probe.attempt("split"), torch.no_grad(), probe.section("splits"):
        for number in range(CALLS):
            x = probe.normal(f"x{number}", 2, 4, 6, 6)
            probe.record(f"split/{number}", _call(model, x, t, cond))
    probe.seed_everything()
    ask: dict[str, Any] = {"S": 4, "batch_size": 2, "shape": (4, 4, 4), "verbose": False}
    on_cpu = small.build(probe, small.without_stages())
    with (
        probe.attempt("on-the-cpu"),
        draws.watched(probe, on_the_cpu=True),
        probe.section("cpu"),
    ):
        samples, _ = DDIMSampler(on_cpu).sample(**ask, conditioning=cond.cpu())
        probe.record("on-the-cpu", samples)
    with probe.attempt("refused"):
        _refused(probe, cond, t)


def _refused(probe: Probe, cond: torch.Tensor, t: torch.Tensor) -> None:
    model = small.build(probe, small.without_stages()).to(probe.device)
    plainly = model.apply_model

    def apply_model(x: torch.Tensor, *given: Any) -> torch.Tensor:
        return plainly(x, *given) * float(x.flatten()[0].cpu() > 9)  # type: ignore[no-any-return]

    printed = io.StringIO()
    model.apply_model = lambda x, *given: apply_model(x, *given) + plainly(x, *given)
    with torch.no_grad(), contextlib.redirect_stdout(printed), probe.section("refused"):
        for number in range(CALLS):
            x = probe.normal(f"x{number}", 2, 4, 4, 4)
            probe.record(f"refused/{number}", _call(model, x, t, cond))
    probe.count("refused/told", printed.getvalue().count("No graphs, "))
