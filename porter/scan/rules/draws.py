"""PT4xx: random numbers that the device draws. A seed gives other ones there than on a CPU."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import ClassVar

from porter.scan.reading.guards import only_on_the_cpu
from porter.scan.reading.module import Module, argument, dotted, text_of
from porter.scan.reading.rule import Device, Reason, Rule, Spot

_ORIGIN = "HabanaAI/Model-References, PyTorch/generative_models (noise on the CPU)"
_REASONS: dict[Device, Reason] = {
    "hpu": Reason("warning", "Gaudi's generator gives other numbers for the same seed", _ORIGIN),
    "npu": Reason("warning", "Ascend's generator gives other numbers for the same seed"),
}
_RANDN = tuple(
    f"{port}/0003-randn-to-cpu.patch"
    for port in ("v-diffusion", "stable-diffusion", "ddpm-from-scratch", "diffusion-from-scratch")
)
_FACTORIES = {"randn", "rand", "randint", "randperm", "normal"}
_LIKE = {"randn_like", "rand_like", "randint_like"}
_OF_A_TENSOR = {"bernoulli", "multinomial", "poisson"}


def is_cpu(module: Module, node: ast.expr | None, depth: int = 2) -> bool:
    """Return whether an expression is surely the CPU."""
    if node is None:
        return True
    if text_of(node) == "cpu":
        return True
    if isinstance(node, ast.Call) and module.called(node) == "torch.device":
        return is_cpu(module, argument(node, "device", 0), depth)
    values = module.values(node) if depth and dotted(node) is not None else []
    return bool(values) and all(is_cpu(module, value, depth - 1) for value in values)


class Draw(Rule):
    code = "PT401"
    name = "draw-on-device"
    title = "Numbers are drawn on the device"
    mend = "draw on the CPU and move: torch.randn(shape).to(device)"
    reasons: ClassVar = _REASONS
    learnt = _RANDN
    before = """\
import torch

def start(shape, device):
    return torch.randn(shape, device=device)  # <-
"""
    after = """\
import torch

def start(shape, device):
    return torch.randn(shape).to(device)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            called = module.called(call) or ""
            if called.removeprefix("torch.") not in _FACTORIES:
                continue
            device = argument(call, "device")
            if isinstance(device, ast.Constant) and device.value is None:
                continue
            if not is_cpu(module, device) and not only_on_the_cpu(module, call):
                yield Spot(call, f"{called} on {module.source.of(device)}")  # type: ignore[arg-type]


class DrawLike(Rule):
    code = "PT402"
    name = "draw-like"
    title = "Numbers are drawn where another tensor is"
    mend = "draw on the CPU and move: torch.randn(x.shape, dtype=x.dtype).to(x.device)"
    reasons: ClassVar = _REASONS
    learnt = _RANDN
    before = """\
import torch

def noised(x, sigma):
    return x + torch.randn_like(x) * sigma  # <-
"""
    after = """\
import torch

def noised(x, sigma):
    return x + torch.randn(x.shape, dtype=x.dtype).to(x.device) * sigma
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            called = (module.called(call) or "").removeprefix("torch.")
            device = argument(call, "device")
            if only_on_the_cpu(module, call):
                continue
            if called in _LIKE and (device is None or not is_cpu(module, device)):
                yield Spot(call, f"torch.{called}")
            elif called in _OF_A_TENSOR:
                yield Spot(call, f"torch.{called}", "possible")
            elif not called and _is_latent_draw(call):
                yield Spot(call, "the latent's own draw", "likely")


def _is_latent_draw(call: ast.Call) -> bool:
    """Whether a call is ``vae.encode(x).latent_dist.sample()`` without a generator."""
    func = call.func
    if not isinstance(func, ast.Attribute) or func.attr != "sample" or call.args or call.keywords:
        return False
    owner = func.value
    return isinstance(owner, ast.Attribute) and owner.attr == "latent_dist"


class DeviceGenerator(Rule):
    code = "PT403"
    name = "device-generator"
    title = "A generator of the device draws"
    mend = "torch.Generator() of the CPU, and move what it draws"
    reasons: ClassVar = _REASONS
    learnt = ("diffusers/0010-inference.patch",)
    before = """\
import torch

def seeded(device, seed):
    return torch.Generator(device=device).manual_seed(seed)  # <-
"""
    after = """\
import torch

def seeded(device, seed):
    return torch.Generator().manual_seed(seed)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            if module.called(call) == "torch.Generator":
                device = argument(call, "device", 0)
                if not is_cpu(module, device):
                    yield Spot(call, f"a generator of {module.source.of(device)}")  # type: ignore[arg-type]
