"""Mark CPU copies as pinned host memory, so that ``DataLoader(pin_memory=True)`` works."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from porter.interception.patching import Patches

_FACTORIES = (
    "empty",
    "zeros",
    "ones",
    "full",
    "rand",
    "randn",
    "empty_strided",
    "empty_like",
    "zeros_like",
    "ones_like",
    "full_like",
    "tensor",
)
_MARK = "_porter_pinned"


def _pin_memory(self: torch.Tensor, device: Any = None) -> torch.Tensor:  # noqa: ARG001
    if is_pinned(self):
        return self
    if self.layout != torch.strided:
        raise RuntimeError(f"cannot pin '{self.type()}' only dense CPU tensors can be pinned")
    pinned = self.detach().clone(memory_format=torch.preserve_format)
    setattr(pinned.untyped_storage(), _MARK, pinned.untyped_storage())
    return pinned.requires_grad_(self.requires_grad)


def is_pinned(self: torch.Tensor, device: Any = None) -> bool:  # noqa: ARG001
    """``Tensor.is_pinned``."""
    return self.layout == torch.strided and hasattr(self.untyped_storage(), _MARK)


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


def install_pinning(patches: Patches) -> None:
    """Patch ``pin_memory`` and ``is_pinned`` of CPU tensors, and the factories that pin."""
    for name in _FACTORIES:
        patches.replace(torch, name, _pinning(getattr(torch, name)))
    patches.replace(torch.Tensor, "pin_memory", _pin_memory)
    patches.replace(torch.Tensor, "is_pinned", is_pinned)
