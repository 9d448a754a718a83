"""The device types simulated in this process."""

from __future__ import annotations

from porter.device.sim.core.machine import Machine

machines: dict[str, Machine] = {}
"""Simulated machines by device type ("hpu")."""
