"""Composite ops whose C++ makes helper tensors "where the input is", and would get the CPU.

``torch.quantile`` of a device tensor builds a mask with ``at::arange(n, self.options())``; C++
takes the options from what it believes is a CPU tensor. While such a function runs on device
tensors, a dispatch mode turns its factories into the device's. The list is what OpInfo's database
and the ports showed; everything else runs without a mode.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from porter.device.sim.core.dispatch import as_subclass
from porter.device.sim.core.op_schema import facts_of
from porter.device.sim.core.tensor import DeviceTensor
from porter.interception.patching import Patches

_FUNCTIONS = (
    (torch, "quantile"),
    (torch, "nanquantile"),
    (torch, "combinations"),
    (torch, "cartesian_prod"),
    (torch.linalg, "matrix_rank"),
    (torch, "istft"),
    (torch._C._nn, "one_hot"),
    (torch.nn.functional, "one_hot"),
)
_METHODS = ("quantile", "nanquantile", "istft")


class _Redirect(TorchDispatchMode):
    """Makes what a composite builds on the CPU into tensors of a device."""

    def __init__(self, cls: type[DeviceTensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cls = cls

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if type(out) is torch.Tensor and not facts_of(func).tensor_args:
            out = as_subclass(out, self.cls)
            self.cls.machine.created(str(func), args, kwargs, out)
        return out


def _device_class(values: tuple[Any, ...]) -> type[DeviceTensor] | None:
    for value in values:
        if isinstance(value, DeviceTensor):
            return type(value)
        if isinstance(value, (list, tuple)):
            found = _device_class(tuple(value))
            if found is not None:
                return found
    return None


def _scoped(native: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(native)
    def outer(*args: Any, **kwargs: Any) -> Any:
        cls = _device_class(args)
        if cls is None:
            return native(*args, **kwargs)
        with _Redirect(cls):
            return native(*args, **kwargs)

    return outer


def _scoped_attention(native: Callable[..., Any]) -> Callable[..., Any]:
    """Attention builds a helper only for a causal mask or dropout outside the fused kernel."""

    @functools.wraps(native)
    def scaled_dot_product_attention(*args: Any, **kwargs: Any) -> Any:
        cls = type(args[0]) if args else None
        causal = kwargs.get("is_causal") or (len(args) > 5 and args[5])
        dropout = kwargs.get("dropout_p") or (len(args) > 4 and args[4])
        mask = kwargs.get("attn_mask") if len(args) < 4 else args[3]
        if cls is None or not issubclass(cls, DeviceTensor):
            return native(*args, **kwargs)
        if not causal and not dropout and mask is None:
            return native(*args, **kwargs)
        with _Redirect(cls):
            return native(*args, **kwargs)

    return scaled_dot_product_attention


def _moved_lengths(native: Callable[..., Any]) -> Callable[..., Any]:
    """CTC loss takes its lengths from the host too; C++ would move them "to where the loss is"."""

    @functools.wraps(native)
    def ctc_loss(log_probs: Any, targets: Any, *lengths_and_rest: Any, **options: Any) -> Any:
        if isinstance(log_probs, DeviceTensor):
            lengths_and_rest = tuple(
                value.to(log_probs.device) if isinstance(value, torch.Tensor) else value
                for value in lengths_and_rest
            )
        return native(log_probs, targets, *lengths_and_rest, **options)

    return ctc_loss


def install_composites(patches: Patches) -> None:
    """Patch the functions of the list, as functions and as methods."""
    for owner, name in _FUNCTIONS:
        if hasattr(owner, name):
            patches.replace(owner, name, _scoped(getattr(owner, name)))
    for name in _METHODS:
        patches.replace(torch.Tensor, name, _scoped(getattr(torch.Tensor, name)))
    patches.replace(torch, "ctc_loss", _moved_lengths(torch.ctc_loss))
    name = "scaled_dot_product_attention"
    wrapper = _scoped_attention(getattr(torch._C._nn, name))
    patches.replace(torch._C._nn, name, wrapper)
    patches.replace(torch.nn.functional, name, wrapper)
