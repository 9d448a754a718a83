"""Save and load checkpoints as a real device does, and say on which device a storage is.

A tensor is pickled through ``_rebuild_tensor_v2`` with its storage tagged "hpu:0", so views and
tied weights keep sharing, and the file loads in plain PyTorch with ``map_location="cpu"``.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import Any

import torch
from torch import serialization

from porter.device.sim.core.machine import machines
from porter.device.sim.core.tensor import DeviceTensor
from porter.device.sim.core.transfer import (
    as_device,
    as_device_tensor,
    destination_of,
    host_alias,
    report_transfer,
)
from porter.interception.patching import Patches

_TAG = "_porter_device"
_MADE_ON = "_porter_made_on"
"""The device a storage is on, which its ``device`` shows: its memory is the host's."""


def reduce_tensor(tensor: DeviceTensor, proto: int) -> Any:
    """``__reduce_ex__``: a plain tensor whose storage is tagged with the device."""
    host = host_alias(tensor)
    report_transfer(tensor, None, "save", host.numel() * host.element_size(), False)
    storage = host.untyped_storage()
    setattr(storage, _TAG, str(tensor.device))
    rebuild, args = host._reduce_ex_internal(proto)
    if rebuild is torch._utils._rebuild_tensor_v2:
        args = (*args[:4], tensor.requires_grad, *args[5:])
    if isinstance(tensor, torch.nn.Parameter):
        hooks = args[5]
        return torch._utils._rebuild_parameter, (
            _Rebuilt(rebuild, args),
            tensor.requires_grad,
            hooks,
        )
    return rebuild, args


class _Rebuilt:
    """Pickles as a plain tensor: a parameter's data, without the parameter."""

    def __init__(self, rebuild: Any, args: Any) -> None:
        self._reduced = (rebuild, (*args[:4], False, *args[5:]))

    def __reduce__(self) -> Any:
        return self._reduced


def _untag(storage: Any, location: str) -> Any:
    if location.partition(":")[0] not in machines:
        return None
    device = torch.device(location)
    machine = machines[device.type]
    machine.class_of(device)  # an index out of range raises, as on the device
    index = machine.current_index if device.index is None else device.index
    setattr(storage, _TAG, f"{device.type}:{index}")
    return storage


def _new_storage(native: Any) -> Any:
    """``torch.UntypedStorage(8, device="hpu")``: host memory that carries the device's name."""

    @functools.wraps(native)
    def new(cls: type, *args: Any, **kwargs: Any) -> Any:
        device = kwargs.get("device")
        target = None if device is None else as_device(device)
        if target is None or target.type not in machines:
            return native(cls, *args, **kwargs)
        storage = native(cls, *args, **{**kwargs, "device": "cpu"})
        _untag(storage, str(target))
        setattr(storage, _MADE_ON, getattr(storage, _TAG))
        return storage

    return new


def _storage_device(storage: Any) -> torch.device:
    location = getattr(storage, _MADE_ON, None)
    return _native_storage_device.__get__(storage) if location is None else torch.device(location)


_native_storage_device: Any = torch.UntypedStorage.device
_native_storage: Any = torch.Tensor.untyped_storage


def _untyped_storage(tensor: DeviceTensor) -> Any:
    """``untyped_storage``: the host memory, which says that it is the device's."""
    storage = _native_storage(tensor)
    if storage.device.type == "cpu":
        setattr(storage, _MADE_ON, str(tensor.device))
    return storage


def _is_on(storage: Any, kind: str) -> bool:
    return bool(getattr(storage, "_untyped_storage", storage).device.type == kind)


def install_serialization(patches: Patches) -> None:
    """Make ``torch.save`` and ``torch.load`` support the simulated locations."""
    patches.replace(DeviceTensor, "__reduce_ex__", reduce_tensor)
    new = staticmethod(_new_storage(torch.UntypedStorage.__new__))
    patches.replace(torch.UntypedStorage, "__new__", new)
    patches.replace(torch.UntypedStorage, "device", property(_storage_device))
    patches.replace(DeviceTensor, "untyped_storage", _untyped_storage)
    for storage_class in (torch.UntypedStorage, torch.storage.TypedStorage):
        if not hasattr(storage_class, "is_npu"):
            patches.replace(storage_class, "is_npu", property(partial(_is_on, kind="npu")))
    entry = (0, lambda storage: getattr(storage, _TAG, None), _untag)
    serialization._package_registry.insert(0, entry)
    patches.later(lambda: serialization._package_registry.remove(entry))
    native_rebuild: Any = torch._utils._rebuild_tensor
    native_v3: Any = torch._utils._rebuild_tensor_v3

    def device_class(storage: Any) -> Any:
        untyped = getattr(storage, "_untyped_storage", storage)
        location = getattr(untyped, _TAG, None)
        if location is None or location.partition(":")[0] not in machines:
            return None
        return destination_of(torch.device(location))

    def rebuild(storage: Any, *rest: Any) -> torch.Tensor:
        return as_device_tensor(native_rebuild(storage, *rest), device_class(storage))

    def rebuild_v3(storage: Any, *rest: Any) -> torch.Tensor:
        tensor = native_v3(storage, *rest)
        return as_device_tensor(tensor.detach(), device_class(storage)).requires_grad_(
            tensor.requires_grad
        )

    # A pickle names the function that rebuilds it, so the name must exist in plain PyTorch.
    rebuild_v3.__module__, rebuild_v3.__qualname__ = "torch._utils", "_rebuild_tensor_v3"
    patches.replace(torch._utils, "_rebuild_tensor", rebuild)
    patches.replace(torch._utils, "_rebuild_tensor_v3", rebuild_v3)
