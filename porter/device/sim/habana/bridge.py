"""The bridge that is already loaded: its loader, its device type and the ranks of a job.

``habana_frameworks.torch``: ``utils.library_loader``, ``utils.experimental``, ``distributed.hccl``.
"""

from __future__ import annotations

import enum
import os


def load_habana_module() -> None:
    """Load the device's library: done when the simulation starts."""


def is_habana_available() -> bool:
    """Whether there is a device; pytorch-lightning 1.8 and 1.9 call it when imported."""
    return True


def is_habana_avaialble() -> bool:
    """Whether there is a device (the vendor's spelling)."""
    return True


class synDeviceType(enum.IntEnum):
    """The vendor's device types."""

    synDeviceGaudi = 1
    synDeviceGaudi2 = 4
    synDeviceGaudi3 = 5


def _get_device_type() -> synDeviceType:
    return synDeviceType.synDeviceGaudi2


def initialize_distributed_hpu(
    world_size: int | None = None, rank: int | None = None, local_rank: int | None = None
) -> tuple[int, int, int]:
    """Return world size, rank and local rank: as given, or from the environment, or 1, 0, 0."""
    world = int(os.environ.get("WORLD_SIZE", 1)) if world_size is None else world_size
    mine = int(os.environ.get("RANK", 0)) if rank is None else rank
    local = int(os.environ.get("LOCAL_RANK", 0)) if local_rank is None else local_rank
    return world, mine, local
