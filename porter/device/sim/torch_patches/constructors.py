"""Make tensors on simulated devices: the factories' kernels, and constructors that C++ misplaces.

``torch.tensor(data, device="hpu")`` builds on the CPU and converts in C++, which does not know the
simulated device; ``new_tensor`` and ``new`` get the device from C++, where it is "cpu". Here they
build on the CPU and make a counted transfer. CPU copies can be marked as pinned host memory, so
that ``DataLoader(pin_memory=True)`` works.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.utils._device
from torch.overrides import handle_torch_function

from porter.device.sim.core.dispatch import as_subclass
from porter.device.sim.core.machine import Machine, machines
from porter.device.sim.core.tensor import DeviceTensor
from porter.device.sim.core.transfer import (
    as_device,
    check_memory_format,
    destination_of,
    device_class_of,
    host_alias,
    move,
)
from porter.interception.patching import Patches

_FACTORIES = ("empty", "zeros", "ones", "full", "rand", "randn")
_PINNING = (*_FACTORIES, "empty_strided", *(f"{name}_like" for name in _FACTORIES[:4]), "tensor")
_SPARSE = ("coo", "csr", "csc", "bsr", "bsc", "compressed")
_PINNED = "_porter_pinned"


def _simulated(device: Any) -> torch.device | None:
    """Return the device if it is given and simulated."""
    if device is None or (isinstance(device, str) and device == "cpu"):
        return None
    device = as_device(device)
    return device if device.type in machines else None


def _placing(original: Callable[..., Any]) -> Callable[..., Any]:
    """``tensor``, ``as_tensor`` and ``asarray``; the latter two copy no data already in place."""
    copies = original is torch.tensor

    @functools.wraps(original)
    def place(data: Any, *args: Any, **options: Any) -> Any:
        if args and not copies:
            options.update(zip(("dtype", "device"), args, strict=False))
            args = ()
        target = _simulated(options.get("device"))
        if args or (target is None and not isinstance(data, DeviceTensor)):
            return original(data, *args, **options)
        grad = options.pop("requires_grad", None)
        copy = copies or bool(options.pop("copy", None))
        device, dtype = options.pop("device", None), options.pop("dtype", None)
        if isinstance(data, torch.Tensor):
            destination = data.device if device is None else as_device(device)
            source = data.detach() if copies else data
            out = source.to(destination, dtype or data.dtype, copy=copy)
        else:
            assert target is not None
            options.pop("pin_memory", None)
            plain = original(data, dtype=dtype, device="cpu", **options)
            out = move(plain, destination_of(target), what=f"torch.{original.__name__}")
        return out if grad is None else out.requires_grad_(grad)

    return place


def _from_host(original: Callable[..., Any]) -> Callable[..., Any]:
    """Constructors that build on the CPU and then move to the simulated device."""

    @functools.wraps(original)
    def construct(*args: Any, **options: Any) -> Any:
        target = _simulated(options.get("device"))
        parts = [a for a in args if isinstance(a, DeviceTensor)]
        if target is None and not parts:
            return original(*args, **options)
        if target is None:
            destination = type(parts[0])
        else:
            found = destination_of(target)
            assert found is not None
            destination = found
        options.pop("device", None)
        grad = options.pop("requires_grad", False)
        plain = [host_alias(a) if isinstance(a, torch.Tensor) else a for a in args]
        out = original(*plain, device="cpu", **options)
        return move(out, destination, what=f"torch.{original.__name__}").requires_grad_(grad)

    return construct


def _like(original: Callable[..., Any]) -> Callable[..., Any]:
    """``zeros_like`` and the others: use an explicit other device, which C++ does not know."""

    @functools.wraps(original)
    def like(self: Any, *args: Any, **options: Any) -> Any:
        device = options.get("device")
        if device is None:
            return original(self, *args, **options)
        device = options["device"] = as_device(device)
        if not isinstance(self, DeviceTensor):
            return original(self, *args, **options)
        if device.type not in machines:
            return original(host_alias(self), *args, **options)
        if destination_of(device) is device_class_of(self):
            options.pop("device")
            return original(self, *args, **options)
        return original(host_alias(self), *args, **{**options, "device": device})

    return like


def _new_tensor(self: torch.Tensor, data: Any, **options: Any) -> torch.Tensor:
    options["dtype"] = options.get("dtype") or self.dtype
    device = options.pop("device", None)
    options["device"] = self.device if device is None else device
    out: torch.Tensor = torch.tensor(data, **options)
    return out


def _pin_memory(self: torch.Tensor, device: Any = None) -> torch.Tensor:  # noqa: ARG001
    if is_pinned(self):
        return self
    if self.layout != torch.strided:
        raise RuntimeError(f"cannot pin '{self.type()}' only dense CPU tensors can be pinned")
    pinned = self.detach().clone(memory_format=torch.preserve_format)
    setattr(pinned.untyped_storage(), _PINNED, pinned.untyped_storage())
    return pinned.requires_grad_(self.requires_grad)


def is_pinned(self: torch.Tensor, device: Any = None) -> bool:  # noqa: ARG001
    """``Tensor.is_pinned``."""
    return self.layout == torch.strided and hasattr(self.untyped_storage(), _PINNED)


def _pinning(native: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Make a factory accept ``pin_memory=True`` without a real accelerator's allocator."""

    @functools.wraps(native)
    def factory(*args: Any, **kwargs: Any) -> torch.Tensor:
        if not kwargs.get("pin_memory"):
            return native(*args, **kwargs)
        out = native(*args, **{**kwargs, "pin_memory": False})
        if not out.is_cpu:
            raise RuntimeError("Only dense CPU tensors can be pinned")
        return _pin_memory(out)

    return factory


def _through_modes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Pass calls of ``function`` through function modes (``with torch.device(...)``)."""

    @functools.wraps(function)
    def outer(*args: Any, **kwargs: Any) -> Any:
        if torch._C._is_torch_function_mode_enabled():
            return handle_torch_function(outer, (), *args, **kwargs)
        return function(*args, **kwargs)

    return outer


def install_constructors(patches: Patches) -> None:
    """Patch the constructors, once for all simulated devices."""
    constructors = torch.utils._device._device_constructors()

    def patch(name: str, make: Callable[[Any], Any]) -> None:
        original = getattr(torch, name)
        wrapper = make(original)
        if original in constructors:
            wrapper = _through_modes(wrapper)
            constructors.add(wrapper)
            patches.later(lambda: constructors.discard(wrapper))
        patches.replace(torch, name, wrapper)

    for name in ("tensor", "as_tensor", "asarray"):
        patch(name, _placing)
    for name in (*_FACTORIES, "randint"):
        patch(f"{name}_like", _like)
    for name in _SPARSE:
        patch(f"sparse_{name}_tensor", _from_host)
    patches.replace(torch.Tensor, "new_tensor", _new_tensor)
    for name in _PINNING:
        patches.replace(torch, name, _pinning(getattr(torch, name)))
    patches.replace(torch.Tensor, "pin_memory", _pin_memory)
    patches.replace(torch.Tensor, "is_pinned", is_pinned)


def install_factories(machine: Machine, patches: Patches) -> None:
    """Register the kernels of a device type's factories: ``torch.empty(..., device="hpu")``.

    Every factory of PyTorch allocates through ``empty.memory_format`` or ``empty_strided`` of the
    device's dispatch key, so two Python kernels there serve ``randn``, ``zeros``, ``arange`` and
    the rest, without a mode. CPU calls never reach Python.
    """
    lib = torch.library.Library("aten", "IMPL")
    key = machine.profile.dispatch_key

    def wrapped(
        name: str, plain: torch.Tensor, device: Any, args: Any, kwargs: Any
    ) -> torch.Tensor:
        cls = machine.class_of(device if device is not None else machine.device())
        out = as_subclass(plain, cls)
        machine.created(name, args, kwargs, out)
        return out

    def empty(
        size: Any,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        pin_memory: Any = None,  # noqa: ARG001
        memory_format: Any = None,
    ) -> torch.Tensor:
        check_memory_format(
            machine,
            memory_format,
            "Only c10::MemoryFormat::Contiguous is supported for creating a npu tensor",
        )
        dtype = machine.check_dtype(dtype or torch.get_default_dtype(), "empty")
        layout = layout if isinstance(layout, torch.layout) else torch.strided
        if layout is not torch.strided:
            plain = torch.empty(size, dtype=dtype, layout=layout, device="cpu")
        else:
            plain = torch.empty(
                size,
                dtype=dtype,
                device="cpu",
                memory_format=memory_format or torch.contiguous_format,
            )
        return wrapped("aten.empty.memory_format", plain, device, (size,), {"dtype": dtype})

    def empty_strided(
        size: Any,
        stride: Any,
        dtype: Any = None,
        layout: Any = None,  # noqa: ARG001
        device: Any = None,
        pin_memory: Any = None,  # noqa: ARG001
    ) -> torch.Tensor:
        dtype = machine.check_dtype(dtype or torch.get_default_dtype(), "empty_strided")
        plain = torch.empty_strided(size, stride, dtype=dtype, device="cpu")
        return wrapped(
            "aten.empty_strided.default", plain, device, (size, stride), {"dtype": dtype}
        )

    def triangle(name: str, draw: Any) -> Any:
        def indices(
            row: int,
            col: int,
            offset: int = 0,
            dtype: Any = torch.long,
            layout: Any = None,  # noqa: ARG001
            device: Any = None,
            pin_memory: Any = None,  # noqa: ARG001
        ) -> torch.Tensor:
            plain = draw(row, col, offset, dtype=dtype or torch.long, device="cpu")
            return wrapped(name, plain, device, (row, col, offset), {"dtype": dtype})

        return indices

    lib.impl("empty.memory_format", empty, key)
    lib.impl("empty_strided", empty_strided, key)
    lib.impl("tril_indices", triangle("aten.tril_indices.default", torch.tril_indices), key)
    lib.impl("triu_indices", triangle("aten.triu_indices.default", torch.triu_indices), key)
    patches.later(lib._destroy)
