"""``habana_frameworks.torch.utils.experimental``: the device type."""

from __future__ import annotations

import enum


class synDeviceType(enum.IntEnum):
    """The vendor's device types."""

    synDeviceGaudi = 1
    synDeviceGaudi2 = 4
    synDeviceGaudi3 = 5


def _get_device_type() -> synDeviceType:
    return synDeviceType.synDeviceGaudi2


__all__ = ["_get_device_type", "synDeviceType"]
