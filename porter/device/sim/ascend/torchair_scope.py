"""``torchair.scope``: where and how the card runs the ops of a block. No result changes."""

from __future__ import annotations

import contextlib

from torch import Tensor


def npu_wait_tensor(self: Tensor, dependency: Tensor) -> Tensor:
    """Return the tensor, to be used after ``dependency`` is computed: everything is in order."""
    del dependency
    return self


def npu_stream_switch(
    stream_tag: str, stream_priority: int = 0, enable_inner_parallel: bool = True
) -> contextlib.nullcontext[None]:
    """Run the block on another stream of the card."""
    del stream_tag, stream_priority, enable_inner_parallel
    return contextlib.nullcontext()


def super_kernel(scope: str, options: str = "") -> contextlib.nullcontext[None]:
    """Fuse the block into one kernel."""
    del scope, options
    return contextlib.nullcontext()


def limit_core_num(op_aicore_num: int, op_vectorcore_num: int) -> contextlib.nullcontext[None]:
    """Limit the cores of the block's ops."""
    del op_aicore_num, op_vectorcore_num
    return contextlib.nullcontext()


def deterministic(level: int) -> contextlib.nullcontext[None]:
    """Make the block's ops deterministic. Raises ValueError for a level above 3."""
    if level not in (0, 1, 2, 3):
        raise ValueError(f"deterministic level must be 0, 1, 2, or 3, got {level}")
    return contextlib.nullcontext()


def op_never_timeout(enable: bool = True) -> contextlib.nullcontext[None]:
    """Let the block's ops run without a limit of time."""
    del enable
    return contextlib.nullcontext()


def data_dump() -> contextlib.nullcontext[None]:
    """Dump the data of the block's ops. Nothing is dumped here."""
    return contextlib.nullcontext()
