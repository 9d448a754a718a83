"""Devices that a model tree can run on: real ones, and accelerators simulated on the CPU.

:func:`open_device` gives the one with a name; see :class:`porter.device.interface.Device`.
Importing this package does not import torch.
"""

from __future__ import annotations

from porter.device.interface import DEVICES, Device
from porter.errors import BadInput

__all__ = ["DEVICES", "Device", "open_device"]


def open_device(name: str) -> Device:
    """Return the device called ``name``: "cpu", "cuda", "hpu", "npu", "sim:cuda", "sim:hpu",
    "sim:npu".

    Nothing is imported or switched on yet: that is :meth:`Device.prepare`. Raises BadInput for
    another name.
    """
    if name not in DEVICES:
        raise BadInput(f"device {name!r}: expected one of {', '.join(DEVICES)}")
    if name.startswith("sim:"):
        from porter.device.simulated import SimulatedDevice

        return SimulatedDevice(name.removeprefix("sim:"))
    from porter.device.real import RealDevice

    return RealDevice(name)
