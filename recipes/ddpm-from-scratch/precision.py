"""Sampling and training with --precision; and what is computed in which type."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from small import cpu_noise, small_model
from torch.nn import functional
from training import launched, train, trainer

from porter.verify.probe import Probe

BLOCKS = ("res", "conv", "clsAtn", "atn", "chnAtn")


class Types:
    """The types that norms and variances are computed in, and how many convolutions are half."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = {}
        self.half_convolutions = 0

    def note(self, what: str, tensor: torch.Tensor) -> None:
        self.seen.setdefault(what, set()).add(str(tensor.dtype).removeprefix("torch."))

    def text(self) -> str:
        return "\n".join(f"{what}: {' '.join(sorted(t))}" for what, t in sorted(self.seen.items()))


@contextlib.contextmanager
def watched(model: Any) -> Iterator[Types]:
    """Note the types of what norms are given, of standardized weights, and of variances."""
    types = Types()
    group_norm, layer_norm, conv2d = (
        functional.group_norm, functional.layer_norm, functional.conv2d,
    )  # fmt: skip
    to_variance = model.vs_to_variance

    def normed(function: Any) -> Any:
        def norm(given: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
            types.note("norms", given)
            return function(given, *args, **options)

        return norm

    def convolved(
        given: torch.Tensor, weight: torch.Tensor, *args: Any, **options: Any
    ) -> torch.Tensor:
        types.note("weights", weight)
        out = conv2d(given, weight, *args, **options)
        types.half_convolutions += out.dtype in (torch.float16, torch.bfloat16)
        return out

    def variance(v: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        types.note("v", v)
        types.note("variance", to_variance(v, t))
        return to_variance(v, t)

    functional.group_norm, functional.layer_norm = normed(group_norm), normed(layer_norm)
    functional.conv2d = convolved
    model.vs_to_variance = variance
    try:
        yield types
    finally:
        functional.group_norm, functional.layer_norm = group_norm, layer_norm
        functional.conv2d = conv2d
        del model.vs_to_variance


def run(probe: Probe) -> None:
    """Record images, types and losses. Upstream, which has no precision, computes in float32."""
    from src.models.diff_model import diff_model

    has_precision = "precision" in inspect.signature(diff_model.__init__).parameters
    for precision in probe.parameters["precisions"]:
        chosen = {"precision": precision} if has_precision else {}
        with probe.attempt(f"{precision}/images"), cpu_noise(probe):
            model = small_model(probe, BLOCKS, timesteps=6, step_size=2, scale=1.0, **chosen)
            torch.manual_seed(probe.seed)
            with watched(model) as types:
                images = model.sample_imgs(1, 3, 1, corrected=True)
            probe.record(f"{precision}/images", images)
            probe.record_text(f"{precision}/types", types.text())
            probe.count(f"{precision}/half_convolutions", types.half_convolutions)
        if precision == "float16":
            continue
        with probe.attempt(f"{precision}/losses"), cpu_noise(probe), launched(probe):
            model = small_model(probe, ("res", "conv", "clsAtn"), timesteps=20, **chosen)
            made = trainer(probe, model)
            train(probe, made, 3, f"{precision}/training")
            probe.record(f"{precision}/losses", torch.tensor(made.losses_comb))
