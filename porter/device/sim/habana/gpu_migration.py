"""``habana_frameworks.torch.gpu_migration``: importing it makes hpu serve CUDA calls."""

from __future__ import annotations

from porter.migrate.migration import activate


def on_import() -> None:
    """Activate the migration, as importing the vendor's module does."""
    activate("hpu")


__all__: list[str] = []
