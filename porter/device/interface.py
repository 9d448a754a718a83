"""What every device offers, real or simulated. Free of torch, so that it costs nothing to
import.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

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
