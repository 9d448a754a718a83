"""``habana_frameworks.torch.utils.library_loader``: load the bridge, which is already loaded."""

from __future__ import annotations


def load_habana_module() -> None:
    """Load the device's library: done when the simulation starts."""


def is_habana_available() -> bool:
    """Whether there is a device; pytorch-lightning 1.8 and 1.9 call it when imported."""
    return True


def is_habana_avaialble() -> bool:
    """Whether there is a device (the vendor's spelling)."""
    return True


__all__ = ["is_habana_avaialble", "is_habana_available", "load_habana_module"]
