"""Higher-order ops (flex_attention, cond, while_loop, scan) on simulated tensors.

PyTorch asks each tensor subclass for a rule of its own and has none for ours. The rule is the
kernel that it runs on every device where nothing fuses the op: its composite, whose ops then run on
the device one by one.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch._higher_order_ops  # registers them
from torch._ops import HigherOrderOperator, _higher_order_ops

from porter.device.sim.core.machine import Machine
from porter.interception.patching import Patches

_COMPOSITE = torch._C.DispatchKey.CompositeExplicitAutograd
_OPS = (
    "associative_scan", "cond", "flex_attention", "flex_attention_backward", "map_impl", "scan",
    "while_loop", "while_loop_stack_output",
)  # fmt: skip


def _run(op: HigherOrderOperator, *args: Any, **kwargs: Any) -> Any:
    return op.py_kernels[_COMPOSITE](*args, **kwargs)


def _forget(op: HigherOrderOperator, cls: type[torch.Tensor]) -> None:
    op.python_key_table.pop(cls, None)


def install_higher_order(machine: Machine, patches: Patches) -> None:
    """Give the ops that run a user's functions a rule for a machine's tensors."""
    for name in _OPS:
        op = _higher_order_ops.get(name)
        if op is None or _COMPOSITE not in op.py_kernels:
            continue
        for cls in machine.classes:
            op.python_key_table[cls] = partial(_run, op)
            patches.later(partial(_forget, op, cls))
