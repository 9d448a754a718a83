"""Composite ops whose C++ makes helper tensors "where the input is", and gets the CPU."""

from __future__ import annotations

from porter.device.sim.patching import Patches


def install_composites(patches: Patches) -> None:
    """Filled in once the list is known."""
