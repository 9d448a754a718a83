"""``habana_frameworks.torch.distributed.hccl``: ranks from the environment."""

from __future__ import annotations

import os


def initialize_distributed_hpu(
    world_size: int | None = None, rank: int | None = None, local_rank: int | None = None
) -> tuple[int, int, int]:
    """Return world size, rank and local rank: as given, or from the environment, or 1, 0, 0."""
    world = int(os.environ.get("WORLD_SIZE", 1)) if world_size is None else world_size
    mine = int(os.environ.get("RANK", 0)) if rank is None else rank
    local = int(os.environ.get("LOCAL_RANK", 0)) if local_rank is None else local_rank
    return world, mine, local


__all__ = ["initialize_distributed_hpu"]
