"""Matrix products with an output dtype of their own, which only accelerators have kernels for.

``torch.mm(a, b, out_dtype=torch.float32)`` of half tensors accumulates and returns float32 on a
card; here the operands are widened first, which rounds no differently.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._ops import OpOverload

from porter.device.sim.dispatch import Run
from porter.device.sim.machine import Machine
from porter.device.sim.tensor import DeviceTensor

_OPS = tuple(
    f"aten.{name}.{overload}"
    for name in ("mm", "bmm", "addmm", "baddbmm")
    for overload in ("dtype", "dtype_out")
)


def _make(op: OpOverload, machine: Machine, cls: type[DeviceTensor]) -> Run:  # noqa: ARG001
    function = getattr(torch, op._opname)
    names = [argument.name for argument in op._schema.arguments if not argument.kwarg_only]

    def run(args: Any, kwargs: Any) -> Any:
        given = dict(zip(names, args, strict=False))
        scales = {key: value for key, value in kwargs.items() if key in ("alpha", "beta")}
        dtype, out = given.pop("out_dtype"), kwargs.get("out")
        wide = [value.to(dtype) for value in given.values()]
        product = function(*wide, **scales)
        return product if out is None else out.resize_(product.shape).copy_(product)

    return run


def install_mixed_matmul(machine: Machine) -> None:
    """Give a machine these kernels."""
    machine.overrides.update(dict.fromkeys(_OPS, _make))
