"""``torch.accelerator`` and bare device indices, which both mean the simulated device.

PyTorch's Python half calls ``torch._C._accelerator_*`` for everything: these functions are
replaced, because the C++ ones know real accelerators only. An index alone (``torch.device(0)``,
``model.to(rank)``, ``torch.zeros(1, device=rank)``) is the accelerator's, as PyTorch documents it
for ``torch.device``; C++ reads it, so the Python functions that lead there resolve it first.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, NoReturn

import torch
import torch.utils._device

from porter.device.sim.core.machine import Machine, accelerator
from porter.device.sim.torch_patches.device_module import TOTAL_MEMORY
from porter.interception.patching import Patches


def install_accelerator(machine: Machine, patches: Patches) -> None:
    """Make ``torch.accelerator`` report the simulated device."""
    device = torch.device(machine.profile.name)
    module = vars(torch)[machine.profile.name]
    if hasattr(torch, "accelerator") and hasattr(torch.accelerator, "Graph"):  # 2.6 lacks both
        patches.replace(torch.accelerator, "Graph", _refuse_graph)
    for name, function in _bindings(machine, device, module).items():
        if hasattr(torch._C, name):
            patches.replace(torch._C, name, function)


def _bindings(machine: Machine, device: torch.device, module: Any) -> dict[str, Any]:
    """Return what replaces the functions of ``torch._C`` that ask C++ about the accelerator."""

    def exchange(index: int) -> int:
        before = machine.current_index
        if index >= 0:
            module.set_device(index)
        return before

    def capability(index: int | None = None) -> dict[str, Any]:
        module.get_device_name(index)  # an index out of range raises
        lacking = machine.profile.unsupported_dtypes
        dtypes = {each for each in vars(torch).values() if isinstance(each, torch.dtype)}
        return {"supported_dtypes": {d for d in dtypes if str(d)[6:] not in lacking}}

    def refuse_settings(settings: str) -> None:
        raise RuntimeError(
            f"sim:{machine.profile.name}: allocator settings {settings!r}: memory is not modelled"
        )

    return {
        "_get_accelerator": lambda check=None: device,  # noqa: ARG005
        "_accelerator_getAccelerator": lambda: device,
        "_accelerator_isAvailable": lambda: True,
        "_accelerator_deviceCount": lambda: len(machine.classes),
        "_accelerator_getDeviceIndex": lambda: machine.current_index,
        "_accelerator_setDeviceIndex": lambda index: exchange(index) and None,
        "_accelerator_exchangeDevice": exchange,
        "_accelerator_maybeExchangeDevice": exchange,
        "_accelerator_getDeviceCapability": capability,
        "_accelerator_getStream": lambda index=None: module.current_stream(index),
        "_accelerator_setStream": module.set_stream,
        "_accelerator_synchronizeDevice": module.synchronize,
        "_accelerator_isAllocatorInitialized": lambda: False,
        "_accelerator_emptyCache": lambda: None,
        "_accelerator_emptyHostCache": lambda: None,
        "_accelerator_getDeviceStats": lambda index=None: {},  # noqa: ARG005
        "_accelerator_resetAccumulatedStats": lambda index=None: None,  # noqa: ARG005
        "_accelerator_resetPeakStats": lambda index=None: None,  # noqa: ARG005
        "_accelerator_getMemoryInfo": lambda index=None: (TOTAL_MEMORY, TOTAL_MEMORY),  # noqa: ARG005
        "_accelerator_setAllocatorSettings": refuse_settings,
        "_accelerator_getAllocatorSettings": lambda: "",
    }


def _refuse_graph(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError(
        "torch.accelerator.Graph is not simulated; capture with the device's own graphs "
        "(torch.cuda.CUDAGraph, HPUGraph, torch.npu.NPUGraph)"
    )


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _at(index: int) -> torch.device:
    """Return the accelerator's device with this index."""
    machine = accelerator()
    assert machine is not None
    return machine.device(index)


class _DeviceType(type):
    """Metaclass of ``torch.device`` while a simulation runs: ``torch.device(0)``.

    ``torch.device`` is a class of C++ that cannot be subclassed, and much of PyTorch compares it by
    identity, so it stays the same object and only what a call of it does changes.
    """

    __slots__ = ()
    __module__ = type.__dict__["__module__"]  # torch's own

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and _is_index(args[0]) and accelerator() is not None:
            return _at(args[0])
        return super().__call__(*args, **kwargs)


def _set_metaclass(cls: type, metaclass: type) -> None:
    """Write the type of a class of C++, which Python refuses to assign."""
    offset = object.__basicsize__ - ctypes.sizeof(ctypes.c_void_p)
    held: Any = ctypes.py_object.from_address(id(cls) + offset)
    held.value = metaclass


def _indexed(native: Callable[..., Any]) -> Callable[..., Any]:
    """Make a factory accept an index as ``device``."""

    @functools.wraps(native)
    def factory(*args: Any, **kwargs: Any) -> Any:
        if _is_index(kwargs.get("device")):
            kwargs["device"] = _at(kwargs["device"])
        return native(*args, **kwargs)

    return factory


_NEW = ("new_empty", "new_empty_strided", "new_full", "new_ones", "new_zeros")


def install_indices(patches: Patches) -> None:
    """Make a bare index mean the simulated accelerator's device."""
    _set_metaclass(torch.device, _DeviceType)
    patches.later(lambda: _set_metaclass(torch.device, type))
    parse = torch._C._nn._parse_to

    def parse_to(*args: Any, **kwargs: Any) -> Any:
        if args and _is_index(args[0]):
            args = (_at(args[0]), *args[1:])
        if _is_index(kwargs.get("device")):
            kwargs["device"] = _at(kwargs["device"])
        return parse(*args, **kwargs)

    patches.replace(torch._C._nn, "_parse_to", parse_to)
    for name in sorted({each.__name__ for each in torch.utils._device._device_constructors()}):
        original = getattr(torch, name, None)
        if not callable(original) or isinstance(original, type):
            continue  # of another module, such as torch.fft
        patches.replace(torch, name, _indexed(original))
    for name in _NEW:
        patches.replace(torch.Tensor, name, _indexed(getattr(torch.Tensor, name)))
