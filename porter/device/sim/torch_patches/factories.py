"""Kernels of the factories: they serve ``torch.empty(..., device="hpu")``.

Every factory of PyTorch allocates through ``empty.memory_format`` or ``empty_strided`` of the
device's dispatch key, so two Python kernels there serve ``randn``, ``zeros``, ``arange`` and the
rest, without a mode. CPU calls never reach Python.
"""

from __future__ import annotations

from typing import Any

import torch

from porter.device.sim.core.dispatch import as_subclass
from porter.device.sim.core.machine import Machine
from porter.interception.patching import Patches


def install_factories(machine: Machine, patches: Patches) -> None:
    """Register the factory kernels of a device type."""
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
