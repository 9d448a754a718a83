"""The normalizations by themselves, where a wrong eps, axis or scale cannot hide."""

from __future__ import annotations

import torch
from narrow import narrow
from torch_alone import stand_in

from porter.verify.probe import Probe


def norms(name: str, factor: int) -> dict[str, tuple[torch.nn.Module, int]]:
    """The first normalization of each kind and its channels: by place, which no level moves."""
    model = narrow(name, factor)
    found: dict[str, tuple[torch.nn.Module, int]] = {}
    for module in model.modules():
        kind = type(module).__name__
        if kind == "SelfAttention2d":
            found.setdefault("attention", (module.norm, module.qkv_proj.in_channels))
        elif kind == "ResModConvBlock":
            found.setdefault("block", (module.main[1], module.main[0].out_channels))
    return found


def run(probe: Probe) -> None:
    """Record each norm's output for inputs far smaller than eps, ordinary, and off centre."""
    stand_in()
    for model in probe.parameters["models"]:
        for kind, (norm, channels) in norms(model, probe.parameters["factor"]).items():
            norm = probe.alive(norm, f"{model} {kind}")
            for scale, shift in probe.parameters["inputs"]:
                x = probe.normal(f"{kind} {scale}", 2, channels, 6, 10, scale=scale) + shift
                x = x * (1 + torch.arange(2).to(x).view(2, 1, 1, 1))
                name = f"{model}/{kind}/{scale}+{shift}"
                with probe.attempt(name):
                    with torch.no_grad():
                        probe.record(name, norm(x))
                    probe.record(f"{name}/grad", _gradient(norm, x))


def _gradient(norm: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Of the input, through a weighting that a normalization does not cancel."""
    leaf = x.clone().requires_grad_()
    weights = torch.linspace(-1, 1, x.numel()).to(x).reshape(x.shape)
    (norm(leaf) * weights).sum().backward()
    assert leaf.grad is not None
    return leaf.grad
