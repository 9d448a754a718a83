"""``habana_frameworks.torch.gpu_migration``: importing it serves CUDA calls by hpu from then on."""

from __future__ import annotations

from porter.migrate.migration import activate


def on_import() -> None:
    """What importing the vendor's module does."""
    activate("hpu")


__all__: list[str] = []
