"""The names of ``torch_npu.npu`` that other device modules lack."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from porter.device.sim.torch_patches.device_module import TOTAL_MEMORY
from porter.device.sim.torch_patches.streams import Stream
from porter.device.sim.torch_patches.streams import StreamContext as _StreamContext

DEVICE_NAME = "Ascend910B2"
"""The simulated card, as the vendor's call spells it."""


def get_device_name(device_name: object = None) -> str:
    """The card's name, in which programs look for ``Ascend910`` and ``Ascend310``."""
    del device_name
    return DEVICE_NAME


def get_device_capability(device: object = None) -> None:
    """None: this card has no such number."""
    del device


def current_blas_handle() -> None:
    """None: there is no such handle."""


def ipc_collect() -> None:
    """Free memory shared between processes: there is none."""


def get_device_properties(device_name: Any = None) -> SimpleNamespace:
    """Return the properties that programs read: the card's name, memory and cores."""
    del device_name
    return SimpleNamespace(
        name=DEVICE_NAME, total_memory=TOTAL_MEMORY, cube_core_num=24, vector_core_num=48
    )


def can_device_access_peer(device_id: int, peer_device_id: int) -> bool:
    """Whether two cards can read each other's memory: always True."""
    del device_id, peer_device_id
    return True


class StreamContext(_StreamContext):
    """``with torch.npu.StreamContext(s):``"""

    def __init__(self, stream_ctx: Stream | None) -> None:
        super().__init__(stream_ctx)


def memory_stats_as_nested_dict(device: Any = None) -> dict[str, Any]:
    """Memory figures: none, memory is not modelled."""
    del device
    return {}


def memory_snapshot(mempool_id: Any = None) -> list[Any]:
    """Memory blocks: none, memory is not modelled."""
    del mempool_id
    return []


def host_memory_stats() -> dict[str, Any]:
    """Pinned host memory: not modelled."""
    return {}


def host_memory_stats_as_nested_dict() -> dict[str, Any]:
    """Pinned host memory: not modelled."""
    return {}


def reset_accumulated_host_memory_stats() -> None:
    """Reset figures of pinned host memory."""


def reset_peak_host_memory_stats() -> None:
    """Reset figures of pinned host memory."""


def get_per_process_memory_fraction(device: Any = None) -> float:
    """The share of memory this process may use: all."""
    del device
    return 1.0


def get_allocator_backend() -> str:
    """The allocator's name."""
    return "native"


def utilization(device: Any = None) -> int:
    """The card's utilization: 0, the simulator has no clock."""
    del device
    return 0
