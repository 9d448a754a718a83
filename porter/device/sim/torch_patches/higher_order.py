"""Higher-order ops (flex_attention, cond, while_loop, scan) on simulated tensors.

PyTorch asks each tensor subclass for a rule of its own and has none for ours. The rule is the
kernel that it runs on every device where nothing fuses the op: its composite, whose ops then run on
the device one by one.

Where PyTorch traces the backward of such a function it runs C++'s autograd engine on fake tensors,
and on those of a device the engine asks for an accelerator that PyTorch is built for. So these are
traced on the CPU instead.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch._higher_order_ops  # registers them
from torch._ops import HigherOrderOperator, _higher_order_ops

from porter.device.sim.core.machine import Machine, machines
from porter.device.sim.core.transfer import host_alias
from porter.interception.patching import Patches

_COMPOSITE = torch._C.DispatchKey.CompositeExplicitAutograd
_OPS = (
    "associative_scan", "cond", "flex_attention", "flex_attention_backward", "map_impl", "scan",
    "while_loop", "while_loop_stack_output",
)  # fmt: skip


def _run(op: HigherOrderOperator, *args: Any, **kwargs: Any) -> Any:
    return op.py_kernels[_COMPOSITE](*args, **kwargs)


def _check_device(native: Callable[..., None], kind: str, query: Any, key: Any, value: Any) -> None:
    """``_validate_device`` of flex_attention, for a device type that it does not name."""
    if query.device.type != kind:
        native(query, key, value)


def _forget(op: HigherOrderOperator, cls: type[torch.Tensor]) -> None:
    op.python_key_table.pop(cls, None)


def _on_cpu(value: Any) -> Any:
    """Return a CPU tensor like a fake or simulated one, for its shape."""
    from torch._subclasses.fake_tensor import FakeTensor
    from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing

    if not isinstance(value, torch.Tensor) or value.device.type not in machines:
        return value
    if not isinstance(value, FakeTensor):
        return host_alias(value).detach().requires_grad_(value.requires_grad)
    with value.fake_mode, disable_proxy_modes_tracing():
        return torch.empty_strided(
            value.size(),
            value.stride(),
            dtype=value.dtype,
            device="cpu",
            requires_grad=value.requires_grad,
        )


def _placed(graph: Any, device: torch.device) -> Any:
    """Return a graph that was traced on the CPU, with its factories on the device."""
    for module in graph.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                if node.kwargs.get("device") == torch.device("cpu"):
                    node.kwargs = {**node.kwargs, "device": device}
            module.recompile()
    return graph


def _device_in(values: Any) -> torch.device | None:
    tensors = (value for value in values if isinstance(value, torch.Tensor))
    return next((each.device for each in tensors if each.device.type in machines), None)


def _score_on_cpu(native: Callable[..., Any]) -> Callable[..., Any]:
    """``create_fw_bw_graph``, which traces flex_attention's score function."""

    @functools.wraps(native)
    def create(score_mod: Any, indices: Any, buffers: Any) -> Any:
        device = _device_in(indices)
        if device is None:
            return native(score_mod, indices, buffers)
        examples = [tuple(_on_cpu(value) for value in values) for values in (indices, buffers)]
        forward, backward = native(score_mod, *examples)
        return forward, _placed(backward, device)

    return create


def _traced_on_cpu(native: Callable[..., Any]) -> Callable[..., Any]:
    """``materialize_as_graph``, which traces the backward of cond, map and scan."""

    @functools.wraps(native)
    def materialize(fn: Any, args: Any, *rest: Any, **options: Any) -> Any:
        device = _device_in(args)
        if device is None:
            return native(fn, args, *rest, **options)
        examples = tuple(_on_cpu(value) for value in args)
        return _placed(native(fn, examples, *rest, **options), device)

    return materialize


def install_traced_gradients(patches: Patches) -> None:
    """Make the gradients of flex_attention, cond, map and scan work on simulated tensors."""
    places = [("flex_attention", "create_fw_bw_graph", _score_on_cpu)]
    for name in ("cond", "map", "scan", "partitioner"):
        places.append((name, "materialize_as_graph", _traced_on_cpu))
    for name, function, wrap in places:
        # The package has ops of the same names as its modules; PyTorch 2.5 has not all of these.
        module = sys.modules.get(f"torch._higher_order_ops.{name}")
        native = getattr(module, function, None)
        if native is not None:
            patches.replace(module, function, wrap(native))


def install_higher_order(machine: Machine, patches: Patches) -> None:
    """Give the ops that run a user's functions a rule for a machine's tensors."""
    for name in _OPS:
        op = _higher_order_ops.get(name)
        if op is None or _COMPOSITE not in op.py_kernels:
            continue
        for cls in machine.classes:
            op.python_key_table[cls] = partial(_run, op)
            patches.later(partial(_forget, op, cls))
    if machine.profile.takes_flex_attention:
        module = importlib.import_module("torch.nn.attention.flex_attention")
        native = getattr(module, "_validate_device", None)  # PyTorch 2.5 checks no device
        if native is not None:
            check = partial(_check_device, native, machine.profile.name)
            patches.replace(module, "_validate_device", check)
