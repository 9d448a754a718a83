"""A device guard for simulated device types, without which C++ ends the process.

C++ asks ``c10``'s registry for the guard of a device type whenever it handles a stream, an event or
a gradient of a tensor on it: fake tensors do, in ``torch.export`` and ``torch.compile``, and so do
``torch.accelerator`` and ``record_stream``. A type without a guard raises there, often where C++
may not raise, and that aborts the process.

Simulated tensors have CPU storage, so a guard has nothing to do but to say which device is current.
It is the one of ``meta``, which does nothing (``NoOpDeviceGuardImpl``), with three of its virtual
functions replaced. The registry is an exported array of pointers in ``libc10``, one per device type
(``c10/core/impl/DeviceGuardImplInterface.h``, PyTorch 2.13); PyTorch has no Python function that
writes it. What is read there is checked first: another layout is refused, not guessed at.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch

from porter.device.sim.core.machine import Machine
from porter.errors import PorterError
from porter.interception.patching import Patches

_REGISTRY = "_ZN3c104impl26device_guard_impl_registryE"
_META = 14
_TYPES = {"cuda": 1, "hpu": 15, "npu": 20}
"""``c10::DeviceType`` of each simulated type (``torch/headeronly/core/DeviceType.h``)."""

_ENTRIES = 48
_HEADER = 2
"""Words before the first function of a virtual table: offset to top, and the type's description."""
_TYPE, _EXCHANGE_DEVICE, _GET_DEVICE = 0, 1, 2
"""Functions in order of declaration."""

_GetType = ctypes.CFUNCTYPE(ctypes.c_int8, ctypes.c_void_p)
_GetDevice = ctypes.CFUNCTYPE(ctypes.c_uint16, ctypes.c_void_p)
_ExchangeDevice = ctypes.CFUNCTYPE(ctypes.c_uint16, ctypes.c_void_p, ctypes.c_uint16)


def _packed(kind: int, index: int) -> int:
    """Return a ``c10::Device`` as C++ passes it: type and index, one signed byte each."""
    return (kind & 0xFF) | ((index & 0xFF) << 8)


class _Guard:
    """A guard object of C++ for one device type, kept alive by whoever holds this."""

    def __init__(self, machine: Machine, meta: int) -> None:
        start = ctypes.c_void_p.from_address(meta).value
        assert start is not None
        word = ctypes.sizeof(ctypes.c_void_p)
        table = (ctypes.c_void_p * _ENTRIES).from_address(start - _HEADER * word)
        self._check(table, meta)
        kind = _TYPES[machine.profile.name]
        self.functions: dict[int, Any] = {
            _TYPE: _GetType(lambda _: kind),
            _GET_DEVICE: _GetDevice(lambda _: _packed(kind, machine.current_index)),
            _EXCHANGE_DEVICE: _ExchangeDevice(lambda _, __: _packed(kind, machine.current_index)),
        }
        self.table = (ctypes.c_void_p * _ENTRIES)(*table)
        for position, function in self.functions.items():
            self.table[_HEADER + position] = ctypes.cast(function, ctypes.c_void_p).value
        self.object = ctypes.c_void_p(ctypes.addressof(self.table) + _HEADER * word)

    @staticmethod
    def _check(table: ctypes.Array[ctypes.c_void_p], meta: int) -> None:
        kind = _GetType(table[_HEADER + _TYPE] or 0)(meta)
        device = _GetDevice(table[_HEADER + _GET_DEVICE] or 0)(meta)
        if (kind, device) != (_META, _packed(_META, -1)):
            raise ValueError(f"the guard of meta answers {kind} and {device:#06x}")

    @property
    def address(self) -> int:
        """Where the object is."""
        return ctypes.addressof(self.object)


def install_guard(machine: Machine, patches: Patches) -> None:
    """Give a simulated device type a guard, unless it has a real one.

    Raises PorterError if this PyTorch keeps its guards in another way.
    """
    found = sorted((Path(torch.__file__).parent / "lib").glob("libc10.*"))
    slot = _TYPES[machine.profile.name]
    try:
        library = ctypes.CDLL(str(found[0]))
        registry = (ctypes.c_void_p * (max(_TYPES.values()) + 1)).in_dll(library, _REGISTRY)
        if registry[slot] is not None:
            return
        guard = _Guard(machine, registry[_META] or 0)
    except (IndexError, OSError, ValueError) as error:
        raise PorterError(
            f"PyTorch {torch.__version__} keeps its device guards in another way than PyTorch "
            f"2.13, with which the simulated devices are tested ({error})"
        ) from error
    registry[slot] = guard.address

    def remove() -> None:
        registry[slot] = None
        del guard.functions  # kept until here by this function

    patches.later(remove)
