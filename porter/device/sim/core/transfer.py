"""Move tensors between the host and simulated devices.

A transfer copies the data natively and gives the copy the class of its destination. With gradients
it is an ``autograd.Function``: the native ``ToCopyBackward`` would see a CPU tensor on both sides
and leave the gradient where it is.

``machine.on_transfer`` is called once per transfer, before the data moves.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch

from porter.device.sim.core.dispatch import PYTHON_KEY, is_excluded, make_subclass, set_excluded
from porter.device.sim.core.machine import Machine, accelerator, machines
from porter.device.sim.core.tensor import DeviceTensor

Destination = type[DeviceTensor] | None
"""A device's tensor class, or None for the host."""

native_to = torch._C.TensorBase.to


class Transfer(NamedTuple):
    """One copy between devices: ``direction`` is "h2d", "d2h" or "d2d", ``what`` the call."""

    direction: str
    what: str
    source: torch.Tensor
    nbytes: int
    non_blocking: bool


class MoveRequest(NamedTuple):
    """The arguments of ``Tensor.to``. ``device`` None means: stay."""

    device: torch.device | None
    dtype: torch.dtype | None
    non_blocking: bool
    copy: bool
    memory_format: torch.memory_format


def is_traced(value: Any) -> bool:
    """Whether a tensor is one of PyTorch's tracers, which know devices by themselves."""
    module = sys.modules.get("torch._subclasses.functional_tensor")
    fake = torch._subclasses.fake_tensor.FakeTensor
    return isinstance(value, fake) or (
        module is not None and isinstance(value, module.FunctionalTensor)
    )


def device_class_of(tensor: torch.Tensor) -> Destination:
    """Return the class of the device a tensor is on, or None for the host."""
    cls = type(tensor)
    return cls if issubclass(cls, DeviceTensor) else None


def destination_of(device: torch.device) -> Destination:
    """Return the class of a simulated device; None for any other device."""
    machine = machines.get(device.type)
    return None if machine is None else cast("type[DeviceTensor]", machine.class_of(device))


def host_alias(tensor: torch.Tensor) -> torch.Tensor:
    """Return a plain CPU tensor on the same storage, outside autograd and not observed."""
    was = is_excluded(PYTHON_KEY)
    set_excluded(PYTHON_KEY, True)
    try:
        plain = torch._C.TensorBase.detach(tensor)
    finally:
        set_excluded(PYTHON_KEY, was)
    return plain


def as_device_tensor(tensor: torch.Tensor, destination: Destination) -> torch.Tensor:
    """Return a CPU tensor as one of ``destination``, on the same storage, outside autograd."""
    if destination is None:
        return tensor
    return make_subclass(destination, tensor)


_reporting = True


@contextlib.contextmanager
def unreported() -> Iterator[None]:
    """Move tensors without reporting transfers, for trying out what a function would do."""
    global _reporting
    before, _reporting = _reporting, False
    try:
        yield
    finally:
        _reporting = before


def report_transfer(
    source: torch.Tensor, destination: Destination, what: str, nbytes: int, non_blocking: bool
) -> None:
    """Pass a transfer to ``machine.on_transfer``."""
    origin = device_class_of(source)
    device_class = destination or origin
    if device_class is None or device_class.machine.on_transfer is None or not _reporting:
        return
    direction = "h2d" if origin is None else "d2h" if destination is None else "d2d"
    device_class.machine.on_transfer(Transfer(direction, what, source, nbytes, non_blocking))


def report_arrival(source: torch.Tensor, host: torch.Tensor) -> None:
    """Pass the host's tensor to ``machine.on_arrival`` after an asynchronous copy to the host."""
    origin = device_class_of(source)
    if origin is not None and origin.machine.on_arrival is not None and _reporting:
        origin.machine.on_arrival(host)


def narrowed(
    plain: torch.Tensor, origin: Destination, destination: Destination, what: str
) -> torch.Tensor:
    """Return a tensor as a copy from the host leaves it on a device that narrows its dtype."""
    if origin is not None or destination is None:
        return plain
    narrow = destination.machine.narrow.get(plain.dtype)
    if narrow is None or not _reporting or plain.layout != torch.strided:
        return plain
    if torch._C._functorch.is_batchedtensor(plain):
        return plain  # inside torch.vmap no value can be read
    return narrow(plain, what)


def check_memory_format(
    machine: Machine | None, memory_format: torch.memory_format | None, message: str
) -> None:
    """Raise RuntimeError where a device has contiguous tensors only and another format is asked."""
    plain = (None, torch.contiguous_format, torch.preserve_format)
    if machine is not None and machine.profile.contiguous_only and memory_format not in plain:
        raise RuntimeError(message)


def _copy(
    source: torch.Tensor,
    destination: Destination,
    dtype: torch.dtype | None,
    memory_format: torch.memory_format,
    non_blocking: bool,
    what: str,
) -> torch.Tensor:
    """Copy a tensor to another device, without gradients."""
    dtype = dtype or source.dtype
    if destination is not None:
        dtype = destination.machine.check_dtype(dtype, what)
    nbytes = source.numel() * dtype.itemsize if source.layout == torch.strided else 0
    report_transfer(source, destination, what, nbytes, non_blocking)
    plain = narrowed(host_alias(source), device_class_of(source), destination, what)
    moved = native_to(plain, dtype=dtype, copy=True, memory_format=memory_format)
    if destination is None and non_blocking:
        report_arrival(source, moved)
    if destination is not None and moved.dtype is torch.float8_e4m3fn and _reporting:
        check = destination.machine.check_fp8
        if check is not None and device_class_of(source) is None:
            check(moved, what)
    return as_device_tensor(moved, destination)


class _Move(torch.autograd.Function):
    """A transfer with gradients: backward moves the gradient back, in the source's dtype."""

    generate_vmap_rule = True

    @staticmethod
    def forward(source: torch.Tensor, *rest: Any) -> torch.Tensor:
        return _copy(source, *rest)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG004
        source = inputs[0]
        ctx.origin, ctx.dtype = device_class_of(source), source.dtype

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        (grad,) = grads
        return (move(grad, ctx.origin, ctx.dtype, what="backward of to"), *[None] * 5)


def move(
    source: torch.Tensor,
    destination: Destination,
    dtype: torch.dtype | None = None,
    memory_format: torch.memory_format = torch.preserve_format,
    non_blocking: bool = False,
    what: str = "to",
) -> torch.Tensor:
    """Return ``source`` on ``destination`` (itself when it is there in that dtype already)."""
    if is_traced(source):
        device = torch.device("cpu") if destination is None else destination.device
        traced: torch.Tensor = native_to(source, device, dtype or source.dtype)
        return traced
    if device_class_of(source) is destination:
        if dtype is None or dtype == source.dtype:
            return source
        return native_to(source, dtype, memory_format=memory_format)
    rest = (destination, dtype, memory_format, non_blocking, what)
    if source.requires_grad and torch.is_grad_enabled():
        moved: torch.Tensor = _Move.apply(source, *rest)  # type: ignore[no-untyped-call]
        return moved
    return _copy(source, *rest)


def as_device(value: Any) -> torch.device:
    """Read a device argument; a bare index means the simulated accelerator's."""
    if isinstance(value, torch.device):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        machine = accelerator()
        if machine is not None:
            return machine.device(value)
    return torch.device(value)


_DTYPES: dict[Any, torch.dtype] = {
    float: torch.float64,
    int: torch.int64,
    bool: torch.bool,
    complex: torch.complex128,
}
"""Python's types, which torch takes for dtypes."""


def read_to_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> MoveRequest:
    """Read the arguments of ``Tensor.to`` in each of its three forms."""
    names = ["device", "dtype", "non_blocking", "copy"]
    if args and isinstance(args[0], (torch.dtype, type)):
        names = ["dtype", "non_blocking", "copy"]
    elif args and isinstance(args[0], torch.Tensor):
        names = ["other", "non_blocking", "copy"]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    device, dtype, other = given.get("device"), given.get("dtype"), given.get("other")
    dtype = _DTYPES.get(dtype, dtype)
    if isinstance(other, torch.Tensor):
        device, dtype = other.device, other.dtype
    return MoveRequest(
        None if device is None else as_device(device),
        dtype,
        bool(given.get("non_blocking", False)),
        bool(given.get("copy", False)),
        given.get("memory_format") or torch.preserve_format,
    )


def _shape_format(memory_format: torch.memory_format) -> torch.memory_format:
    preserve = memory_format is torch.preserve_format
    return torch.contiguous_format if preserve else memory_format


def to(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """``Tensor.to`` with support for simulated devices."""
    if is_traced(self):
        request = read_to_arguments(args, kwargs)
        if "device" in kwargs:
            kwargs["device"] = request.device
        elif args and isinstance(args[0], int):
            args = (request.device, *args[1:])
        return native_to(self, *args, **kwargs)
    origin = device_class_of(self)
    request = read_to_arguments(args, kwargs)
    destination = origin if request.device is None else destination_of(request.device)
    if destination is None and origin is None:
        return native_to(self, *args, **kwargs)
    if destination is None and request.device is not None and request.device.type != "cpu":
        return native_to(move(self, None), *args, **kwargs)  # meta, or a device not simulated
    if not self.is_contiguous(memory_format=_shape_format(request.memory_format)):
        text = "Only contiguous_format or preserve_format is supported."
        owner = None if destination is None else destination.machine
        check_memory_format(owner, request.memory_format, text)
    if origin is destination:
        dtype = request.dtype or self.dtype
        if origin is not None:
            dtype = origin.machine.check_dtype(dtype, "to")
        return native_to(self, dtype, copy=request.copy, memory_format=request.memory_format)
    return move(
        self, destination, request.dtype, request.memory_format, request.non_blocking, what="to"
    )


def cpu(
    self: torch.Tensor, memory_format: torch.memory_format = torch.preserve_format
) -> torch.Tensor:
    """``Tensor.cpu``."""
    return move(self, None, memory_format=memory_format, what="cpu")


def mover(kind: str) -> Any:
    """Return the method of a device type that corresponds to ``Tensor.cuda``."""

    def method(
        self: torch.Tensor,
        device: Any = None,
        non_blocking: bool = False,
        memory_format: torch.memory_format = torch.preserve_format,
    ) -> torch.Tensor:
        machine = machines[kind]
        target = machine.device() if device is None else as_device(device)
        if isinstance(device, int):
            target = machine.device(device)
        if target.type != kind:
            raise RuntimeError(f"Invalid device, must be {kind} device")
        return move(self, destination_of(target), None, memory_format, non_blocking, what=kind)

    method.__name__ = kind
    method.__doc__ = f"``Tensor.{kind}``: a copy on the simulated {kind} device."
    return method


def type_as(self: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """``Tensor.type_as``: the other's dtype and device."""
    return to(self, device=other.device, dtype=other.dtype)
