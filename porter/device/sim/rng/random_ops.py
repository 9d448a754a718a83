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

Draw = Callable[[int, DeviceGenerator], torch.Tensor]


def _default_generator(machine: Machine, cls: type[torch.Tensor]) -> DeviceGenerator:
    found = machine.generators[cls.device.index]
    assert isinstance(found, DeviceGenerator)
    return found


def _generator(machine: Machine, cls: type[torch.Tensor], given: Any) -> DeviceGenerator:
    """Return the generator of a call: the given one, or the device's default."""
    if given is None:
        return _default_generator(machine, cls)
    found = device_generator(given)
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


def _uniform(numel: int, generator: DeviceGenerator) -> torch.Tensor:
    at = generator.take(philox.offset_step(numel))
    return philox.uniform(numel, generator.key, at)


def _normal(numel: int, generator: DeviceGenerator) -> torch.Tensor:
    at = generator.take(philox.offset_step(numel))
    return philox.normal(numel, generator.key, at)


def _arguments(op: OpOverload, args: Any, kwargs: Any) -> dict[str, Any]:
    """Return the arguments by name, with defaults."""
    found = {a.name: a.default_value for a in op._schema.arguments if a.has_default_value()}
    found.update(zip((a.name for a in op._schema.arguments), args, strict=False))
    found.update(kwargs)
    return found


def _opmath(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _make_uniform(op: OpOverload, machine: Machine, cls: type[torch.Tensor]) -> Run:
    def run(args: Any, kwargs: Any) -> Any:
        given = _arguments(op, args, kwargs)
        target, low, high = given["self"], given["from"], given["to"]
        if not target.is_floating_point() or low > high:
            return op(*args)  # the native kernel raises the error
        generator = _generator(machine, cls, given["generator"])
        if target.numel() == 0:
            return target
        drawn = _uniform(target.numel(), generator).to(_opmath(target.dtype))
        low, high = (torch.tensor(v, dtype=target.dtype, device="cpu") for v in (low, high))
        value = (drawn * (high - low).to(drawn.dtype) + low.to(drawn.dtype)).to(target.dtype)
        return _fill(target, torch.where(value == high, low, value))  # (0, 1] becomes [0, 1)

    return run


def _make_normal(op: OpOverload, machine: Machine, cls: type[torch.Tensor]) -> Run:
    def run(args: Any, kwargs: Any) -> Any:
        given = _arguments(op, args, kwargs)
        target, mean, std = given["self"], given["mean"], given["std"]
        if not target.is_floating_point() or std < 0:
            return _spawned(op, machine, cls)(args, kwargs)
        generator = _generator(machine, cls, given["generator"])
        if target.numel() == 0:
            return target
        drawn = _normal(target.numel(), generator).to(_opmath(target.dtype))
        return _fill(target, drawn * std + mean)

    return run


def _make_exponential(op: OpOverload, machine: Machine, cls: type[torch.Tensor]) -> Run:
    def run(args: Any, kwargs: Any) -> Any:
        given = _arguments(op, args, kwargs)
        target, rate = given["self"], given["lambd"]
        if not target.is_floating_point() or rate <= 0:
            return _spawned(op, machine, cls)(args, kwargs)
        generator = _generator(machine, cls, given["generator"])
        if target.numel() == 0:
            return target
        drawn = _uniform(target.numel(), generator).double()
        # As PyTorch's CUDA kernel: never exactly 0, because -log(1) is.
        positive = (-drawn.log()).clamp_min(torch.finfo(torch.float32).eps / 2)
        return _fill(target, positive / rate)

    return run


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
        generator = _default_generator(machine, cls)
        before, fresh = generator.offset, generator.spawn().get_state()
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
    "aten.uniform_.default": _make_uniform,
    "aten.normal_.default": _make_normal,
    "aten.exponential_.default": _make_exponential,
    "aten.bernoulli_.float": _make_bernoulli_scalar,
}


def _random_kernel(op: OpOverload) -> MakeKernel:
    return _DRAWN.get(str(op), _spawned)


def install_rng(machine: Machine) -> None:
    """Give a machine its generators and the kernels of its random ops."""
    count = machine.profile.device_count
    machine.generators = tuple(make_generator(machine, index) for index in range(count))
    machine.random_kernel = _random_kernel
