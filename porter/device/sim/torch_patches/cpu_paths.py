"""Functions of torch that take another path for a CPU tensor than for a device's.

C++ sees the CPU storage of a simulated tensor. Without these patches it would

- build the helper tensors of a composite op on the CPU: ``torch.quantile`` makes a mask with
  ``at::arange(n, self.options())``. While such a function runs on device tensors, a dispatch mode
  turns its factories into the device's. The list is what OpInfo's database and the ports showed;
  everything else runs without a mode;
- group tensors as if all were on the CPU: gradient clipping would go tensor by tensor, with a copy
  of the factor to "the CPU", where a device clips whole lists and copies nothing;
- find no kernel for ``torch.mm(a, b, out_dtype=torch.float32)`` of half tensors, which only
  accelerators have: the product is accumulated and returned in float32. Here the operands are
  widened first, which rounds no differently. The kernels are registered at the CPU's key, where
  PyTorch has none, because composites reach them from C++ too.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from porter.device.sim.core.dispatch import as_subclass
from porter.device.sim.core.op_schema import facts_of
from porter.device.sim.core.tensor import DeviceTensor, tensors_in
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
    """Gives tensors that a composite builds on the CPU the class of a device."""

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


def _scoped(
    native: Callable[..., Any], builds_helpers: Callable[..., bool] | None = None
) -> Callable[..., Any]:
    @functools.wraps(native)
    def outer(*args: Any, **kwargs: Any) -> Any:
        cls = next((type(t) for t in tensors_in(args) if isinstance(t, DeviceTensor)), None)
        if cls is None or not (builds_helpers is None or builds_helpers(*args, **kwargs)):
            return native(*args, **kwargs)
        with _Redirect(cls):
            return native(*args, **kwargs)

    return outer


def _attention_builds_helpers(
    query: Any,  # noqa: ARG001
    key: Any,  # noqa: ARG001
    value: Any,  # noqa: ARG001
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **_: Any,
) -> bool:
    """Whether attention builds helper tensors: only with a mask or dropout."""
    return attn_mask is not None or dropout_p > 0.0 or is_causal


def _moved_lengths(native: Callable[..., Any]) -> Callable[..., Any]:
    """Move the lengths of CTC loss to the device, where C++ would leave them on the CPU."""

    @functools.wraps(native)
    def ctc_loss(log_probs: Any, targets: Any, *lengths_and_rest: Any, **options: Any) -> Any:
        if isinstance(log_probs, DeviceTensor):
            lengths_and_rest = tuple(
                value.to(log_probs.device) if isinstance(value, torch.Tensor) else value
                for value in lengths_and_rest
            )
        return native(log_probs, targets, *lengths_and_rest, **options)

    return ctc_loss


def _install_grouping(patches: Patches) -> None:
    """Let ``torch.nn.utils.clip_grad`` see the devices of simulated tensors."""
    clipping = importlib.import_module("torch.nn.utils.clip_grad")
    native = clipping._group_tensors_by_device_and_dtype

    def grouped(tensorlistlist: Any, with_indices: bool = False) -> Any:
        firsts = tensorlistlist[0]
        if not any(isinstance(tensor, DeviceTensor) for tensor in firsts):
            return native(tensorlistlist, with_indices)
        found: dict[Any, Any] = {}
        for at, first in enumerate(firsts):
            lists, indices = found.setdefault(
                (first.device, first.dtype), ([[] for _ in tensorlistlist], [])
            )
            for kept, tensors in zip(lists, tensorlistlist, strict=True):
                kept.append(tensors[at])
            if with_indices:
                indices.append(at)
        return found

    patches.replace(clipping, "_group_tensors_by_device_and_dtype", grouped)


def _widening_product(name: str, operands: int) -> Callable[..., torch.Tensor]:
    function = getattr(torch, name)

    def product(*args: Any, out: torch.Tensor | None = None, **scales: Any) -> torch.Tensor:
        dtype: torch.dtype = args[operands]
        wide = [value.to(dtype) for value in args[:operands]]
        result: torch.Tensor = function(*wide, *args[operands + 1 :], **scales)
        return result if out is None else out.resize_(result.shape).copy_(result)

    return product


def _install_products(patches: Patches) -> None:
    """Register the matrix products with an output dtype of their own."""
    lib = torch.library.Library("aten", "IMPL")
    for name, operands in (("mm", 2), ("bmm", 2), ("addmm", 3), ("baddbmm", 3)):
        for overload in ("dtype", "dtype_out"):
            lib.impl(f"{name}.{overload}", _widening_product(name, operands), "CPU")
    patches.later(lib._destroy)


def install_cpu_paths(patches: Patches) -> None:
    """Patch the functions above, as functions and as methods."""
    _install_grouping(patches)
    _install_products(patches)
    for owner, name in _FUNCTIONS:
        if hasattr(owner, name):
            patches.replace(owner, name, _scoped(getattr(owner, name)))
    for name in _METHODS:
        patches.replace(torch.Tensor, name, _scoped(getattr(torch.Tensor, name)))
    patches.replace(torch, "ctc_loss", _moved_lengths(torch.ctc_loss))
    name = "scaled_dot_product_attention"
    wrapper = _scoped(getattr(torch._C._nn, name), _attention_builds_helpers)
    patches.replace(torch._C._nn, name, wrapper)
    patches.replace(torch.nn.functional, name, wrapper)
