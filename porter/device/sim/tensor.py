"""Tensors on a simulated device: a subclass over CPU storage that tells where it lives.

C++ still sees a CPU tensor with the Python dispatch key, so kernels, autograd, in-place metadata
changes and storage sharing are the real ones. Everything Python code asks about placement is
answered by the class. One class per device index: placement needs no per-tensor state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch

if TYPE_CHECKING:
    from porter.device.sim.machine import Machine


class DeviceTensor(torch.Tensor):
    """Base of all tensors on simulated devices."""

    machine: ClassVar[Machine]
    device: ClassVar[torch.device]  # type: ignore[misc]
    is_cpu: ClassVar[bool] = False  # type: ignore[misc]

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


def make_class(machine: Machine, index: int) -> type[DeviceTensor]:
    """Make the tensor class of one device."""
    kind = machine.profile.name
    attribute = f"_porter_{kind}_{index}"
    names: dict[str, Any] = {"machine": machine, "attribute": attribute}
    exec(
        "def dispatch(op, types, args=(), kwargs=None):\n"
        "    try:\n"
        f"        run = op.{attribute}\n"
        "    except AttributeError:\n"
        "        run = machine.compile(op, names['cls'], attribute)\n"
        "    return run(args, kwargs)\n",
        {**names, "names": names},
        names,
    )
    cls: type[DeviceTensor] = type(
        f"{kind.capitalize()}Tensor",
        (DeviceTensor,),
        {
            "__module__": __name__,
            "__torch_dispatch__": staticmethod(names["dispatch"]),
            "machine": machine,
            "device": torch.device(kind, index),
            f"is_{kind}": True,
        },
    )
    names["cls"] = cls
    return cls
