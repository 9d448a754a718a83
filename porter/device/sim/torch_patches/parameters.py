"""Move parameters between devices: ``Module.to``, ``p.data = ...``, ``p.grad = ...``.

``Module.to`` swaps the contents of each Parameter object, so tied weights stay tied and an
optimizer built before the move keeps updating the right tensors. Where a swap is impossible (an
old-style ``weight_norm`` holds a graph over its parameters) the Parameter is replaced, once per
object.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from porter.device.sim.core.dispatch import unseen
from porter.device.sim.core.transfer import (
    as_device_tensor,
    device_class_of,
    host_alias,
    unreported,
)
from porter.device.sim.torch_patches.lazy_modules import place_uninitialized
from porter.interception.patching import Patches, TensorProperty

TensorFunction = Callable[[torch.Tensor], torch.Tensor]
native_data: Any = torch._C.TensorBase.data
native_grad: Any = torch._C.TensorBase.grad


def _set_data(self: torch.Tensor, value: torch.Tensor) -> None:
    """``p.data = value``; across devices the tensor itself moves, as on a real backend."""
    if device_class_of(self) is device_class_of(value):
        native_data.__set__(self, value)
        self.__dict__.pop("_porter_value", None)  # LazyGraphs described its old shape
        return
    moved = value.detach().requires_grad_(self.requires_grad)
    if getattr(self, "_is_param", False) or isinstance(self, nn.Parameter):
        moved = nn.Parameter(moved, requires_grad=self.requires_grad)
    try:
        torch.utils.swap_tensors(self, moved)
    except RuntimeError as error:
        raise RuntimeError(
            f"Attempted to set the data of a tensor on {self.device} to one on {value.device}: a "
            f"simulated device cannot move a tensor that a graph still refers to ({error})"
        ) from error


def _set_grad(self: torch.Tensor, value: torch.Tensor | None) -> None:
    """``p.grad = value``; a gradient on another device is refused."""
    if value is not None and device_class_of(self) is not device_class_of(value):
        raise RuntimeError(
            f"attempting to assign a gradient with device type '{value.device.type}' to a tensor "
            f"with device type '{self.device.type}'. Please ensure that the gradient and the "
            "tensor are on the same device"
        )
    native_grad.__set__(self, value)


def _get_grad(self: torch.Tensor) -> torch.Tensor | None:
    """``p.grad``; one that a backward formula made on the CPU gets the tensor's device."""
    grad: torch.Tensor | None = native_grad.__get__(self)
    if grad is None:
        return None
    device_class = device_class_of(self)
    if device_class_of(grad) is device_class:
        return grad
    grad = as_device_tensor(host_alias(grad), device_class)
    native_grad.__set__(self, grad)
    return grad


def _placed_grads(native: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.autograd.grad`` with every gradient on its input's device."""

    @functools.wraps(native)
    def grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        found = native(outputs, inputs, *args, **kwargs)
        single = isinstance(inputs, torch.Tensor)
        sources = (inputs,) if single else tuple(inputs)
        return tuple(
            each
            if not isinstance(each, torch.Tensor)
            or not isinstance(source, torch.Tensor)
            or device_class_of(each) is device_class_of(source)
            else as_device_tensor(host_alias(each), device_class_of(source))
            for each, source in zip(found, sources, strict=True)
        )

    return grad


def _replace_parameters(module: nn.Module, fn: TensorFunction, done: dict[int, Any]) -> None:
    """Apply ``fn`` by replacing Parameters, each old one by the same new one everywhere."""
    for part in module.modules():
        for key, old in part._parameters.items():
            if old is None:
                continue
            if id(old) not in done:
                with torch.no_grad():
                    new = nn.Parameter(fn(old.detach()), requires_grad=old.requires_grad)
                    if old.grad is not None:
                        new.grad = fn(old.grad)
                done[id(old)] = (old, new)  # the old one is kept so that its id is not reused
                done[id(new)] = (new, new)
            part._parameters[key] = done[id(old)][1]
        for key, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[key] = fn(buffer)


def _applier(native: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    nested = threading.local()

    def _apply(self: nn.Module, fn: TensorFunction, recurse: bool = True) -> nn.Module:
        # Module._apply calls itself for children: only the outermost call decides.
        if getattr(nested, "now", False):
            return native(self, fn, recurse)
        put_back = place_uninitialized(self, fn)
        try:
            return move(self, fn, recurse)
        finally:
            put_back()

    def move(self: nn.Module, fn: TensorFunction, recurse: bool) -> nn.Module:
        if not _changes_device(self, fn):
            return native(self, fn, recurse)
        future = torch.__future__
        was = future.get_swap_module_params_on_conversion()
        future.set_swap_module_params_on_conversion(True)
        nested.now = True
        try:
            return native(self, fn, recurse)
        except RuntimeError as error:
            if "Couldn't swap" not in str(error):
                raise
            _replace_parameters(self, fn, {})
            return self
        finally:
            nested.now = False
            future.set_swap_module_params_on_conversion(was)

    return _apply


def _changes_device(module: nn.Module, fn: TensorFunction) -> bool:
    """Whether ``fn`` would move a parameter, tried on empty tensors without counting."""
    dtypes = {device_class_of(tensor): tensor.dtype for tensor in module.parameters()}
    with torch.no_grad(), unseen(), unreported():
        for device_class, dtype in dtypes.items():
            sample = as_device_tensor(torch.empty(0, dtype=dtype, device="cpu"), device_class)
            if device_class_of(fn(sample)) is not device_class:
                return True
    return False


def install_parameters(patches: Patches) -> None:
    """Patch ``Module._apply`` and the ``data`` and ``grad`` attributes of tensors."""
    patches.replace(nn.Module, "_apply", _applier(nn.Module._apply))
    data = TensorProperty(native_data.__get__, _set_data, native_data.__delete__)
    grad = TensorProperty(_get_grad, _set_grad, native_grad.__delete__)
    patches.replace(torch.Tensor, "data", data)
    patches.replace(torch.Tensor, "grad", grad)
    patches.replace(torch.autograd, "grad", _placed_grads(torch.autograd.grad))
