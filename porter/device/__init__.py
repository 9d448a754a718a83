"""Devices that a model tree can run on: real ones, and accelerators simulated on the CPU.

:func:`open_device` returns the :class:`Device` with a name. Importing this package does not import
torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from porter.errors import BadInput

if TYPE_CHECKING:
    import torch

DEVICES = ("cpu", "cuda", "hpu", "npu", "sim:cuda", "sim:hpu", "sim:npu")


class Device(Protocol):
    """A device that a script, a probe or a recipe runs on.

    ``name`` is porter's ("sim:hpu"), ``kind`` is PyTorch's device type ("hpu").
    """

    name: str
    kind: str
    is_simulated: bool

    def prepare(self) -> None:
        """Make this process able to use the device: import its plugin, or start the simulation.

        Raises BadInput, in one line, when that cannot be done. Calling it twice is fine.
        """

    def title(self) -> str:
        """The hardware's name, with the word "simulated" where that is so."""

    def supports(self, dtype: torch.dtype) -> bool:
        """Whether tensors of this dtype live and compute on the device."""

    def synchronize(self) -> None:
        """Wait until the device has done all work it was given."""

    def counters(self, root: Path | None = None) -> dict[str, Any]:
        """What was counted since :meth:`prepare` or :meth:`reset_counters`, as JSON-able data.

        Sites are relative to ``root``. Only a simulated device counts; ``"simulated"`` says so.
        """

    def reset_counters(self) -> None:
        """Count from zero."""

    def peak_memory(self) -> int | None:
        """Most bytes allocated on the device so far; None where that cannot be known."""


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
