"""Kernels of random ops, which draw from the simulated device's own stream."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload

from porter.device.sim.core.dispatch import Run
from porter.device.sim.core.machine import Machine, MakeKernel
from porter.device.sim.rng import philox
from porter.device.sim.rng.generator import (
    DeviceGenerator,
    NativeGenerator,
    device_generator,
    make_generator,
)

Given = dict[str, Any]
"""The arguments of an op by name, with defaults."""

Draw = Callable[[Given, DeviceGenerator], torch.Tensor]


def _generator(machine: Machine, cls: type[torch.Tensor], given: Any = None) -> DeviceGenerator:
    """Return the generator of a call: the given one, or the device's default."""
    found = device_generator(machine.generators[cls.device.index] if given is None else given)
    if found is None and machine.profile.takes_cpu_generators:
        found = make_generator(machine, cls.device.index)
        return found.manual_seed(int(torch.randint(1 << 32, (), generator=given, device="cpu")))
    if found is None:
        raise RuntimeError(
            f"Expected a '{cls.device.type}' device type for generator but found 'cpu'"
        )
    if found.device != cls.device:
        raise RuntimeError(f"Expected a '{cls.device}' generator but found one on '{found.device}'")
    return found


def _fill(target: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
    """Write numbers in memory order, as a kernel over a dense tensor does."""
    order = sorted(range(target.dim()), key=target.stride, reverse=True)
    ordered = target.permute(order)
    ordered.copy_(flat.view(ordered.shape))
    return target


def _arguments(op: OpOverload, args: Any, kwargs: Any) -> Given:
    found = {a.name: a.default_value for a in op._schema.arguments if a.has_default_value()}
    found.update(zip((a.name for a in op._schema.arguments), args, strict=False))
    found.update(kwargs)
    return found


def _opmath(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _drawn(is_valid: Callable[[Given], bool], draw: Draw) -> MakeKernel:
    """Return the kernel of an in-place op that draws from Philox; else the native one's error."""

    def make(op: OpOverload, machine: Machine, cls: type[torch.Tensor]) -> Run:
        def run(args: Any, kwargs: Any) -> Any:
            given = _arguments(op, args, kwargs)
            target = given["self"]
            if not target.is_floating_point() or not is_valid(given):
                return _spawned(op, machine, cls)(args, kwargs)
            generator = _generator(machine, cls, given["generator"])
            return _fill(target, draw(given, generator)) if target.numel() else target

        return run

    return make


def _philox(
    kernel: Callable[[int, int, int], torch.Tensor], numel: int, generator: DeviceGenerator
) -> torch.Tensor:
    return kernel(numel, generator.key, generator.take(philox.offset_step(numel)))


def _uniform(given: Given, generator: DeviceGenerator) -> torch.Tensor:
    target = given["self"]
    drawn = _philox(philox.uniform, target.numel(), generator).to(_opmath(target.dtype))
    bounds = (given["from"], given["to"])
    low, high = (torch.tensor(v, dtype=target.dtype, device="cpu") for v in bounds)
    value = (drawn * (high - low).to(drawn.dtype) + low.to(drawn.dtype)).to(target.dtype)
    return torch.where(value == high, low, value)  # (0, 1] becomes [0, 1)


def _normal(given: Given, generator: DeviceGenerator) -> torch.Tensor:
    target = given["self"]
    drawn = _philox(philox.normal, target.numel(), generator).to(_opmath(target.dtype))
    result: torch.Tensor = drawn * given["std"] + given["mean"]
    return result


def _exponential(given: Given, generator: DeviceGenerator) -> torch.Tensor:
    drawn = _philox(philox.uniform, given["self"].numel(), generator).double()
    # As PyTorch's CUDA kernel: never exactly 0, because -log(1) is.
    positive = (-drawn.log()).clamp_min(torch.finfo(torch.float32).eps / 2)
    result: torch.Tensor = positive / given["lambd"]
    return result


def _make_bernoulli_scalar(op: OpOverload, machine: Machine, cls: type[torch.Tensor]) -> Run:
    def run(args: Any, kwargs: Any) -> Any:
        given = _arguments(op, args, kwargs)
        target, p = given["self"], given["p"]
        if not 0 <= p <= 1:
            return op(target, p)
        child = _generator(machine, cls, given["generator"]).spawn()
        # Integers from a Mersenne twister are the same on every machine; MKL's streams are not.
        drawn = torch.empty(target.shape, dtype=torch.int32, device="cpu")
        drawn.random_(0, 1 << 24, generator=child)
        return target.copy_(drawn < math.ldexp(p, 24))

    return run


def _spawned(op: OpOverload, machine: Machine, cls: type[torch.Tensor]) -> Run:
    """Return the CPU kernel, run with a generator spawned from the device's."""
    takes_generator = any(a.name == "generator" for a in op._schema.arguments)

    def with_argument(args: Any, kwargs: Any) -> Any:
        given = _arguments(op, args, kwargs).get("generator")
        child = _generator(machine, cls, given).spawn()
        names = [a.name for a in op._schema.arguments if not a.kwarg_only]
        if "generator" in names:
            filled = {**_arguments(op, args, kwargs), "generator": child}
            positional = [filled[name] for name in names]
            rest = {k: v for k, v in kwargs.items() if k not in names}
            return op(*positional, **rest)
        return op(*args, **{**kwargs, "generator": child})

    def with_default(args: Any, kwargs: Any) -> Any:
        generator = _generator(machine, cls)
        before, fresh = generator.get_offset(), generator.spawn().get_state()
        default: NativeGenerator = torch.default_generator
        state = default.get_state()
        default.set_state(fresh)
        try:
            return op(*args, **kwargs)
        finally:
            if torch.equal(default.get_state(), fresh):
                # The op drew nothing (attention without dropout), so a card draws nothing either.
                generator.set_offset(before)
            default.set_state(state)

    return with_argument if takes_generator else with_default


_DRAWN: dict[str, MakeKernel] = {
    "aten.uniform_.default": _drawn(lambda given: given["from"] <= given["to"], _uniform),
    "aten.normal_.default": _drawn(lambda given: given["std"] >= 0, _normal),
    "aten.exponential_.default": _drawn(lambda given: given["lambd"] > 0, _exponential),
    "aten.bernoulli_.float": _make_bernoulli_scalar,
}


def install_rng(machine: Machine) -> None:
    """Give a machine its generators and the kernels of its random ops."""
    count = machine.profile.device_count
    machine.generators = tuple(make_generator(machine, index) for index in range(count))
    machine.random_kernel = lambda op: _DRAWN.get(str(op), _spawned)
