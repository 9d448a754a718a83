"""``habana_frameworks.torch.gpu_migration``: importing it serves CUDA calls by hpu from then on."""

from __future__ import annotations

from porter.migrate.migration import activate

activate("hpu")

__all__: list[str] = []
