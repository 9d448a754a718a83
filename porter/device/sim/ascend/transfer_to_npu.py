"""``torch_npu.contrib.transfer_to_npu``: importing it serves CUDA calls by npu from then on."""

from __future__ import annotations

from porter.migrate.migration import activate


def on_import() -> None:
    """What importing the vendor's module does."""
    activate("npu")


__all__: list[str] = []
