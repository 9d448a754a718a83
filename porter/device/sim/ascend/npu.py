"""The names of ``torch_npu.npu`` that other device modules lack.

Settings that select how the card computes are stored and read back. None changes a result here:
storage formats (``config.allow_internal_format``) and kernels (the compile mode) are not modelled.
"""

from __future__ import annotations

import enum
import os
import re
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from porter.device.sim.core.machine import machines
from porter.device.sim.graphs.capture import DeviceGraph
from porter.device.sim.graphs.records import TaskGroup
from porter.device.sim.torch_patches.device_module import TOTAL_MEMORY
from porter.device.sim.torch_patches.streams import Stream
from porter.device.sim.torch_patches.streams import StreamContext as _StreamContext
from porter.device.sim.vendors.graphs import (
    GraphCapture,
    PooledGraph,
    graph_pool_handle,  # noqa: F401
    graphed_callables_of,
    is_current_stream_capturing,  # noqa: F401
)
from porter.device.sim.vendors.stub_module import constant_functions


class NPUGraph(PooledGraph):
    """A captured sequence of device work. Nothing runs while it is captured."""

    kind = "npu"


class graph(GraphCapture):
    """``with torch.npu.graph(g):`` captures the block into ``g``."""

    kind = "npu"

    def __init__(
        self,
        npu_graph: NPUGraph,
        pool: Any = None,
        stream: Any = None,
        auto_dispatch_capture: bool = False,
        capture_error_mode: str = "global",
    ) -> None:
        super().__init__(npu_graph, pool=pool, capture_error_mode=capture_error_mode)
        self.npu_graph = npu_graph


make_graphed_callables = graphed_callables_of(NPUGraph)


def graph_task_group_begin(stream: Any) -> None:
    """Begin a group of captured tasks whose arguments can be updated between replays."""
    DeviceGraph.begin_group()


def graph_task_group_end(stream: Any) -> TaskGroup:
    """End the group and return its handle."""
    return DeviceGraph.end_group()


_updated: list[TaskGroup] = []


def graph_task_update_begin(stream: Any, handle: TaskGroup) -> None:
    """Let the operators that follow give a group's tasks their arguments for the next replays."""
    _updated.append(handle)
    handle.begin_update(machines["npu"])


def graph_task_update_end(stream: Any) -> None:
    """End the update. Raises RuntimeError if the operators were not those of the group."""
    if not _updated:
        raise RuntimeError("graph_task_update_end without graph_task_update_begin")
    _updated.pop().end_update()


class ExternalEvent:
    """An event that a captured graph waits for and that is recorded outside it.

    Everything runs in order here, so waiting does nothing, also before :meth:`record`.
    """

    def __init__(self) -> None:
        self.recorded = False

    def record(self, stream: Any = None) -> None:
        """Record the event in a stream."""
        self.recorded = True

    def wait(self, stream: Any = None) -> None:
        """Make a stream wait for the event."""

    def reset(self, stream: Any = None) -> None:
        """Make the event one that is not recorded."""
        self.recorded = False

    def query(self) -> bool:
        """Whether the work before the event is done: always True."""
        return True

    def __repr__(self) -> str:
        return "<torch_npu.npu.ExternalEvent (simulated)>"


def _lazy_call(callable: Callable[[], Any], **kwargs: Any) -> None:
    """Call now: the simulated device is always initialized."""
    callable()


def get_soc_version() -> int:
    """The number of the simulated card's chip: an Ascend910B2's (NpuVariables.h)."""
    return 221


DEVICE_NAME = "Ascend910B2"
"""The simulated card, as the vendor's call spells it."""

_NO_MEMORY = "Memory figures: none, memory is not modelled."
_NO_HOST_MEMORY = "Pinned host memory: not modelled."
_ANSWERS: dict[str, tuple[Any, str]] = {
    "get_device_name": (
        DEVICE_NAME, "The card's name, in which programs look for ``Ascend910`` and ``Ascend310``."
    ),
    "current_blas_handle": (None, "None: there is no such handle."),
    "ipc_collect": (None, "Free memory shared between processes: there is none."),
    "can_device_access_peer": (True, "Whether two cards read each other's memory: always True."),
    "memory_stats_as_nested_dict": ({}, _NO_MEMORY),
    "memory_snapshot": ([], _NO_MEMORY),
    "host_memory_stats": ({}, _NO_HOST_MEMORY),
    "host_memory_stats_as_nested_dict": ({}, _NO_HOST_MEMORY),
    "reset_accumulated_host_memory_stats": (None, _NO_HOST_MEMORY),
    "reset_peak_host_memory_stats": (None, _NO_HOST_MEMORY),
    "get_per_process_memory_fraction": (1.0, "The share of memory this process may use: all."),
    "get_allocator_backend": ("native", "The allocator's name."),
    "utilization": (0, "The card's utilization: 0, the simulator has no clock."),
    "set_aoe": (None, "Dump graphs for tuning. Nothing is dumped here."),
    "get_npu_overflow_flag": (False, "Whether anything overflowed: never, it gives inf or nan."),
    "clear_npu_overflow_flag": (None, "Clear the float status register."),
    "init_dump": (None, "Start dumping operators' data. Nothing is dumped here."),
    "set_dump": (None, "Configure dumping."),
    "finalize_dump": (None, "Stop dumping."),
    "stress_detect": (0, "Test the card's hardware: there is none, so it passes (0)."),
    "set_op_timeout_ms": (None, "Limit the time of one operator."),
    "empty_virt_addr_cache": (None, "Free cached address space."),
    "host_empty_cache": (None, "Free cached pinned host memory."),
}  # fmt: skip
"""The functions that always give the same answer, and what they are for."""
globals().update(constant_functions("torch_npu.npu", __name__, _ANSWERS))


_NO_NUMBER = (
    "major", "minor", "is_multi_gpu_board", "is_integrated", "max_threads_per_multi_processor",
    "warp_size", "regs_per_multiprocessor", "gcnArchName",
)  # fmt: skip
_VECTOR_CORES = 48


def get_device_properties(device_name: Any = None) -> SimpleNamespace:
    """Return the card's name, memory and cores, and None for what a card of this kind lacks.

    ``multi_processor_count`` is the number of vector cores, which DataParallel compares (Module.cpp
    of Ascend/pytorch, 9e73e708). The size of the cache is not modelled.
    """
    return SimpleNamespace(
        name=DEVICE_NAME,
        total_memory=TOTAL_MEMORY,
        cube_core_num=24,
        vector_core_num=_VECTOR_CORES,
        multi_processor_count=_VECTOR_CORES,
        L2_cache_size=0,
        **dict.fromkeys(_NO_NUMBER),
    )


_CAPABILITY = "TORCH_NPU_DEVICE_CAPABILITY"


def get_device_capability(device: Any = None) -> tuple[int, int] | None:
    """Return what ``TORCH_NPU_DEVICE_CAPABILITY`` says ("8.0"), else None: the card has no number.

    Under ``transfer_to_npu`` PyTorch 2.13's ``torch.distributed.broadcast`` takes the first of the
    two numbers and fails on None, as on the card.
    """
    given = os.environ.get(_CAPABILITY)
    if not given:
        text = "set the environment variable TORCH_NPU_DEVICE_CAPABILITY to give it a value"
        warnings.warn(f"get_device_capability is None on npu; {text}", stacklevel=2)
        return None
    found = re.fullmatch(r"(\d+)\.(\d+)", given)
    if found is None:
        warnings.warn(f"{_CAPABILITY}={given}: expected major.minor, for example 8.0", stacklevel=2)
        return None
    return int(found[1]), int(found[2])


class StreamContext(_StreamContext):
    """``with torch.npu.StreamContext(s):``"""

    def __init__(self, stream_ctx: Stream | None) -> None:
        super().__init__(stream_ctx)


_COMPLEX = (torch.complex32, torch.complex64, torch.complex128)
_state: dict[str, Any] = {
    "jit_compile": False,
    "mm_bmm_format_nd": True,
    "sync_debug_mode": 0,
    "task_queue": True,
    "deterministic_level": 0,
    "compatible": False,
    "options": {},
}


class CubeMathType(enum.IntEnum):
    """Precision of matrix products."""

    KEEP_DTYPE = 0
    ALLOW_FP32_DOWN_PRECISION = 1
    USE_FP16 = 2
    USE_HF32 = 3


class _Switch:
    """``npu.matmul`` and ``npu.conv``: whether float32 products may run in HF32."""

    def __init__(self, allow_hf32: bool) -> None:
        self.allow_hf32 = allow_hf32


class _Config:
    """``npu.config``."""

    allow_internal_format = False


config = _Config()
matmul = _Switch(False)
conv = _Switch(True)


def set_compile_mode(jit_compile: bool = False) -> None:
    """Compile each operator for its shapes (True), or use prebuilt binaries (False).

    With True no complex tensor can be made (TensorFactories.cpp of Ascend/pytorch, 9e73e708).
    """
    _state["jit_compile"] = bool(jit_compile)
    text = "Current settings do not support Complex dtype. Please try again with jit_compile=False."
    machine = machines.get("npu")
    if machine is not None:
        machine.refused_dtypes = dict.fromkeys(_COMPLEX, text) if jit_compile else {}


def is_jit_compile_false() -> bool:
    """Whether :func:`set_compile_mode` selected prebuilt binaries."""
    return not _state["jit_compile"]


def set_option(option: dict[str, Any]) -> None:
    """Set options of the card's compiler, by name."""
    if not isinstance(option, dict):
        raise TypeError("npu option must be a dict.")
    _state["options"].update({name: str(value) for name, value in option.items()})


def set_mm_bmm_format_nd(is_nd: bool = True) -> None:
    """Select the ND format for operands of matrix products."""
    _state["mm_bmm_format_nd"] = bool(is_nd)


def get_mm_bmm_format_nd() -> bool:
    """The value set by :func:`set_mm_bmm_format_nd`."""
    return bool(_state["mm_bmm_format_nd"])


def set_sync_debug_mode(debug_mode: int | str) -> None:
    """Select whether syncs warn (1) or raise (2) on the card. Here they are only counted."""
    names = {"default": 0, "warn": 1, "error": 2}
    _state["sync_debug_mode"] = names[debug_mode] if isinstance(debug_mode, str) else debug_mode


def get_sync_debug_mode() -> int:
    """The value set by :func:`set_sync_debug_mode`."""
    return int(_state["sync_debug_mode"])


def set_task_queue_enable(mode: int) -> None:
    """Set the depth of the host's task queue."""
    _state["task_queue"] = mode


def get_task_queue_enable() -> int:
    """The value set by :func:`set_task_queue_enable`."""
    return int(_state["task_queue"])


def set_deterministic_level(level: int) -> None:
    """Set how deterministic kernels are. The simulation's always are."""
    _state["deterministic_level"] = level


def use_compatible_impl(is_enable: bool) -> None:
    """Select kernels that compute as PyTorch's do. The simulation's always do."""
    _state["compatible"] = bool(is_enable)


def are_compatible_impl_enabled() -> bool:
    """The value set by :func:`use_compatible_impl`."""
    return bool(_state["compatible"])


def is_autocast_enabled() -> bool:
    """Whether autocast on npu is on."""
    return torch.is_autocast_enabled("npu")


def set_autocast_enabled(enable: bool) -> None:
    """Switch autocast on npu."""
    torch.set_autocast_enabled("npu", enable)


def get_autocast_dtype() -> torch.dtype:
    """The dtype of autocast on npu."""
    return torch.get_autocast_dtype("npu")


def set_autocast_dtype(dtype: torch.dtype) -> None:
    """Set the dtype of autocast on npu."""
    torch.set_autocast_dtype("npu", dtype)


def enable_deterministic_with_backward(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor: backward is always deterministic in the simulation."""
    return tensor


def disable_deterministic_with_backward(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor."""
    return tensor
