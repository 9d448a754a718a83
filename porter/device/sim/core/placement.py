"""Make the tensor class of a device; refuse operands from different devices as a backend does.

0-dim CPU tensors are accepted beside device tensors, as PyTorch accepts them on every backend, and
so are the ops that cross devices by design: ``copy_``, and CPU indices into a device tensor.

C++ sees CPU tensors here, so helpers that it makes "where the operand is" are plain CPU tensors.
Two kinds are distinguished from a user's mistake: helpers of backward formulas (only the call's own
arguments refer to them) and of the composites in
:mod:`porter.device.sim.torch_patches.cpu_paths`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch._ops import OpOverload

from porter.device.sim.core.dispatch import Run
from porter.device.sim.core.machine import Machine
from porter.device.sim.core.op_schema import INDEXED, OpFacts, TensorArg
from porter.device.sim.core.tensor import DeviceTensor
from porter.device.sim.core.transfer import (
    destination_of,
    device_class_of,
    move,
    narrowed,
    report_arrival,
    report_transfer,
)

_COPIES = frozenset({"aten.copy_", "aten.copy", "aten._copy_from"})
_INDEXED = INDEXED | {"aten._unsafe_index_put"}
_CONVOLUTIONS = frozenset({"aten.convolution", "aten._convolution"})
_ALONE_IN_LIST = 3
_ALONE = 4
"""Reference counts, as seen below, of a tensor that only C++ and the call's arguments refer to."""


class MixedDevices(RuntimeError):
    """Operands on different devices."""


def _foreign(
    cls: type[DeviceTensor], facts: OpFacts, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[TensorArg, torch.Tensor, bool]]:
    """Yield the operands that are not on the op's device, and whether only the call holds them."""
    for arg in facts.tensor_args:
        if arg.position is None:
            holder: Any = [kwargs[arg.name]] if kwargs and arg.name in kwargs else ()
        else:
            holder = args[arg.position : arg.position + 1]
        if arg.is_list:
            holder = holder[0] if holder and holder[0] is not None else ()
        for index in range(len(holder)):
            kind = type(holder[index])
            if kind is not cls and issubclass(kind, torch.Tensor):
                alone = _ALONE_IN_LIST if arg.is_list else _ALONE
                fresh = kind is torch.Tensor and sys.getrefcount(holder[index]) <= alone
                yield arg, holder[index], fresh


def settle(
    cls: type[DeviceTensor], facts: OpFacts, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the operands that the op may run on, with CPU indices moved to the device.

    Raises MixedDevices, with a real backend's message, where a backend would refuse the operands.
    """
    for arg, tensor, is_fresh in list(_foreign(cls, facts, args, kwargs)):
        on_host = tensor.device.type == "cpu"
        if facts.packet in _COPIES:  # 0-dim sources too: a kernel takes a number, a copy moves it
            args = _report_copy(args)
            continue
        if on_host and tensor.dim() == 0 and not arg.is_written:
            continue
        if on_host and facts.packet in _INDEXED and arg.name == "indices":
            args = _move_indices(cls, args, arg)
            continue
        if on_host and is_fresh and torch._C._current_autograd_node() is not None:
            continue
        raise MixedDevices(_message(cls, facts, arg, tensor))
    return args, kwargs


def _report_copy(args: tuple[Any, ...]) -> tuple[Any, ...]:
    target, source = args[0], args[1]
    nbytes = target.numel() * target.element_size()
    later = bool(args[2]) if len(args) > 2 else False
    report_transfer(source, device_class_of(target), "copy_", nbytes, later)
    if later and device_class_of(target) is None and target.is_pinned():
        report_arrival(source, target)
    origin, destination = device_class_of(source), device_class_of(target)
    return (target, narrowed(source, origin, destination, "copy_"), *args[2:])


def _move_indices(
    cls: type[DeviceTensor], args: tuple[Any, ...], arg: TensorArg
) -> tuple[Any, ...]:
    position = arg.position
    assert position is not None
    moved = [
        index if index is None or device_class_of(index) else move(index, cls, what="index")
        for index in args[position]
    ]
    return (*args[:position], moved, *args[position + 1 :])


def _message(cls: type[DeviceTensor], facts: OpFacts, arg: TensorArg, tensor: torch.Tensor) -> str:
    if facts.packet in _CONVOLUTIONS:
        ours, theirs = f"torch.{cls.device.type}.FloatTensor", str(tensor.type())
        first, second = (theirs, ours) if arg.name == "input" else (ours, theirs)
        return f"Input type ({first}) and weight type ({second}) should be the same"
    return (
        "Expected all tensors to be on the same device, but found at least two devices, "
        f"{cls.device} and {tensor.device}! (when checking argument {arg.name} in {facts.name})"
    )


def _without_double(tensor: torch.Tensor, options: dict[str, Any]) -> None:
    """Make float32 of float64 in a conversion on the device, as Ascend's ``_to_copy`` does."""
    if options.get("dtype") is torch.float64 and tensor.dtype is not torch.float64:
        options["dtype"] = torch.float32
        text = "Device do not support double dtype now, dtype cast replace with float."
        warnings.warn(text, stacklevel=5)


def _compile(machine: Machine, op: OpOverload, cls: type[DeviceTensor], attribute: str) -> Run:
    run = machine.compile(
        op, cls, attribute, lambda facts, args, kwargs: settle(cls, facts, args, kwargs)
    )
    if op is not torch.ops.aten._to_copy.default:
        return run

    def copy_or_move(args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
        """Run ``Tensor.to``'s op. To "cpu" is no move: C++ asks so for the storage that it sees."""
        options = dict(kwargs or {})
        device = options.pop("device", None)
        destination = None if device is None else destination_of(device)
        if destination is None or destination is cls:
            if device is None and machine.profile.casts_double:
                _without_double(args[0], options)
            return run(args, options)
        later = bool(options.get("non_blocking"))
        layout = options.get("memory_format") or torch.preserve_format
        return move(args[0], destination, options.get("dtype"), layout, later, what="to")

    setattr(op, attribute, copy_or_move)
    return copy_or_move


def make_class(machine: Machine, index: int) -> type[DeviceTensor]:
    """Make the tensor class of one device."""
    kind = machine.profile.name
    attribute = f"_porter_{kind}_{index}"
    names: dict[str, Any] = {
        "machine": machine,
        "attribute": attribute,
        "compile_op": lambda op: _compile(machine, op, cls, attribute),
    }
    exec(
        "def dispatch(op, types, args=(), kwargs=None):\n"
        "    try:\n"
        f"        run = op.{attribute}\n"
        "    except AttributeError:\n"
        "        run = compile_op(op)\n"
        "    return run(args, kwargs)\n",
        names,
    )
    cls: type[DeviceTensor] = type(
        f"{kind.capitalize()}Tensor",
        (DeviceTensor,),
        {
            "__module__": DeviceTensor.__module__,
            "__torch_dispatch__": staticmethod(names["dispatch"]),
            "machine": machine,
            "device": torch.device(kind, index),
            f"is_{kind}": True,
        },
    )
    return cls
