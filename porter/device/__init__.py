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
        """Import the device's plugin, or start the simulation, in this process.

        Raises BadInput, with a one-line message, when that fails. Calling it twice is fine.
        """

    def title(self) -> str:
        """The hardware's name; a simulated device's says "simulated"."""

    def supports(self, dtype: torch.dtype) -> bool:
        """Whether tensors of this dtype live and compute on the device."""

    def synchronize(self) -> None:
        """Wait until the device has finished all its work."""

    def counters(self, root: Path | None = None) -> dict[str, Any]:
        """Return the counts since :meth:`prepare` or :meth:`reset_counters`, as JSON-able data.

        Sites are relative to ``root``. Only a simulated device counts: ``"simulated"`` is True.
        """

    def reset_counters(self) -> None:
        """Restart all counts at zero."""

    def peak_memory(self) -> int | None:
        """The peak of allocated bytes on the device; None where it is not known."""


def open_device(name: str) -> Device:
    """Return the device called ``name``: "cpu", "cuda", "hpu", "npu", "sim:cuda", "sim:hpu",
    "sim:npu".

    :meth:`Device.prepare` imports and starts it. Raises BadInput for another name.
    """
    if name not in DEVICES:
        raise BadInput(f"device {name!r}: expected one of {', '.join(DEVICES)}")
    if name.startswith("sim:"):
        from porter.device.simulated import SimulatedDevice

        return SimulatedDevice(name.removeprefix("sim:"))
    from porter.device.real import RealDevice

    return RealDevice(name)
