"""Lazy modules (``LazyLinear``): parameters without a shape, which remember a simulated device.

An uninitialized parameter holds no data, and PyTorch refuses nearly every call with it, so it
cannot be an empty tensor on the device. It stays on the host and remembers the device on which it
is to be made; ``materialize`` makes it there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import parameter
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from porter.device.sim.core.machine import machines
from porter.device.sim.core.transfer import (
    Destination,
    as_device,
    as_device_tensor,
    destination_of,
    device_class_of,
    unreported,
)
from porter.interception.patching import Patches

_PLACE = "_porter_place"
_Mixin: Any = vars(parameter)["UninitializedTensorMixin"]  # the base of both, not in its stub
_native_data: Any = torch._C.TensorBase.data
_native_device: Any = torch._C.TensorBase.device


def _place_of(tensor: Any) -> Destination:
    found: Destination = vars(tensor).get(_PLACE)
    return found


def _chosen(device: Any) -> Destination:
    """Return where a factory with this ``device`` argument makes tensors; None for the host."""
    chosen = torch.get_default_device() if device is None else as_device(device)
    return destination_of(chosen) if chosen.type in machines else None


def place_uninitialized(
    module: nn.Module, fn: Callable[[torch.Tensor], torch.Tensor]
) -> Callable[[], None]:
    """Note where ``fn`` moves a module's uninitialized parameters and buffers, and take them out.

    Returns the function that puts them back.
    """
    taken: list[tuple[dict[str, Any], str, Any]] = []
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, value in held.items():
                if isinstance(value, _Mixin) and _move(value, fn):
                    taken.append((held, name, value))
    for held, name, _ in taken:
        held[name] = None

    def put_back() -> None:
        for held, name, value in taken:
            held[name] = value

    return put_back


def _move(value: Any, fn: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    """Note where ``fn`` would put a tensor like ``value``, and return whether there is a note."""
    dtype = _native_data.__get__(value).dtype
    with torch.no_grad(), unreported():
        sample = as_device_tensor(torch.empty(0, dtype=dtype, device="cpu"), _place_of(value))
        found = fn(sample)
    place = device_class_of(found)
    if place is None and _place_of(value) is None:
        return False
    vars(value)[_PLACE] = place
    if found.dtype != dtype:
        _native_data.__set__(value, torch.empty(0, dtype=found.dtype, device="cpu"))
    return True


def _materialize(native: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(native)
    def materialize(
        self: Any, shape: Any, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        place = _place_of(self) if device is None else _chosen(device)
        if place is None:
            return native(self, shape, device or _native_device.__get__(self), dtype)
        dtype = dtype or _native_data.__get__(self).dtype
        made = torch.empty(shape, device=place.device, dtype=dtype)
        if isinstance(self, nn.Parameter):
            made = nn.Parameter(made, requires_grad=self.requires_grad)
        kept = {key: value for key, value in vars(self).items() if key != _PLACE}
        torch.utils.swap_tensors(self, made)
        vars(self).update(kept)
        return None

    return materialize


def _new(native: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(native)
    def new(
        cls: type, requires_grad: Any = None, device: Any = None, dtype: Any = None, **more: Any
    ) -> Any:
        place = _chosen(device)
        given = () if requires_grad is None else (requires_grad,)
        made = native(cls, *given, device="cpu" if place else device, dtype=dtype, **more)
        if place is not None:
            vars(made)[_PLACE] = place
        return made

    return new


def _deepcopy(native: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(native)
    def deepcopy(self: Any, memo: dict[int, Any]) -> Any:
        made = native(self, memo)
        if _place_of(self) is not None:
            vars(made)[_PLACE] = _place_of(self)
        return made

    return deepcopy


def _device(self: Any) -> torch.device:
    place = _place_of(self)
    found: torch.device = _native_device.__get__(self) if place is None else place.device
    return found


def install_lazy_modules(patches: Patches) -> None:
    """Let lazy modules be moved to, and made on, simulated devices."""
    patches.replace(_Mixin, "materialize", _materialize(_Mixin.materialize))
    patches.replace(_Mixin, "device", property(_device))
    for cls in (UninitializedParameter, UninitializedBuffer):
        patches.replace(cls, "__new__", staticmethod(_new(cls.__new__)))
    copied: Any = UninitializedParameter
    patches.replace(copied, "__deepcopy__", _deepcopy(copied.__deepcopy__))
