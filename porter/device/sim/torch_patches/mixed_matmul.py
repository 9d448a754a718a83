"""Matrix products with an output dtype of their own, which only accelerators have kernels for.

``torch.mm(a, b, out_dtype=torch.float32)`` of half tensors accumulates and returns float32 on a
card. Here the operands are widened first, which rounds no differently. The kernels stand at the
CPU's key, where PyTorch has none, because composites reach them from C++ too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from porter.interception.patching import Patches


def _kernel(name: str, operands: int) -> Callable[..., torch.Tensor]:
    function = getattr(torch, name)

    def product(*args: Any, out: torch.Tensor | None = None, **scales: Any) -> torch.Tensor:
        dtype: torch.dtype = args[operands]
        wide = [value.to(dtype) for value in args[:operands]]
        result: torch.Tensor = function(*wide, *args[operands + 1 :], **scales)
        return result if out is None else out.resize_(result.shape).copy_(result)

    return product


def install_mixed_matmul(patches: Patches) -> None:
    """Register the kernels."""
    lib = torch.library.Library("aten", "IMPL")
    for name, operands in (("mm", 2), ("bmm", 2), ("addmm", 3), ("baddbmm", 3)):
        for overload in ("dtype", "dtype_out"):
            lib.impl(f"{name}.{overload}", _kernel(name, operands), "CPU")
    patches.later(lib._destroy)
