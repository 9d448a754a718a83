"""``torch_npu.contrib.transfer_to_npu``: importing it makes npu serve CUDA calls."""

from __future__ import annotations

from porter.migrate.migration import activate


def on_import() -> None:
    """Activate the migration, as importing the vendor's module does."""
    activate("npu")


__all__: list[str] = []
