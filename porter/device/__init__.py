"""Devices that a model tree can run on: real ones, and accelerators simulated on the CPU.

:func:`open_device` returns the :class:`Device` with a name. Importing this package does not import
torch.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from porter.device.sim.contract.releases import SIMULATED, kind_of
from porter.errors import BadInput

if TYPE_CHECKING:
    from porter.device.sim.accounting.ledger import DeviceAccounting

DEVICES = ("cpu", "cuda", "hpu", "npu", *SIMULATED)


class Device(Protocol):
    """A device that a script, a probe or a recipe runs on.

    ``name`` is porter's ("sim:hpu", "sim:hpu@1.12"), ``kind`` is PyTorch's device type ("hpu").
    """

    name: str
    kind: str

    def prepare(self) -> None:
        """Import the device's plugin, or start the simulation, in this process.

        Raises BadInput, with a one-line message, when that fails. Calling it twice is fine.
        """

    def title(self) -> str:
        """The hardware's name; a simulated device's says "simulated"."""

    def synchronize(self) -> None:
        """Wait until the device has finished all its work."""

    def counters(self, root: Path | None = None) -> dict[str, Any]:
        """Return the counts since :meth:`prepare` or :meth:`reset_counters`, as JSON-able data.

        Sites are relative to ``root``. Only a simulated device counts: ``"simulated"`` is True.
        """

    def reset_counters(self) -> None:
        """Restart all counts at zero."""


_PLUGINS = {
    "hpu": ("habana_frameworks.torch.core", "Intel's habana-torch-plugin"),
    "npu": ("torch_npu", "Huawei's torch-npu"),
}


class RealDevice:
    """The cpu, cuda, hpu or npu of this machine."""

    def __init__(self, kind: str) -> None:
        self.name = self.kind = kind

    def prepare(self) -> None:
        """Import the plugin and check for a device. Raises BadInput when there is none."""
        import torch

        instead = f"; `--device sim:{self.kind}` simulates it on the CPU"
        if self.kind in _PLUGINS:
            module, package = _PLUGINS[self.kind]
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise BadInput(
                    f"device {self.kind}: {package} is not installed here ({error}){instead}"
                ) from error
        if self.kind != "cpu" and not self._module().is_available():
            raise BadInput(
                f"device {self.kind}: PyTorch {torch.__version__} sees none here{instead}"
            )

    def _module(self) -> Any:
        import torch

        return getattr(torch, self.kind)

    def title(self) -> str:
        if self.kind == "cpu":
            return "CPU"
        return str(self._module().get_device_name())

    def synchronize(self) -> None:
        if self.kind != "cpu":
            self._module().synchronize()

    def counters(self, root: Path | None = None) -> dict[str, Any]:  # noqa: ARG002
        """Return no counts: a real device counts nothing."""
        return {"simulated": False, "device": self.name}

    def reset_counters(self) -> None:
        """Reset the memory peak, where the device keeps one."""
        if self.kind != "cpu":
            self._module().reset_peak_memory_stats()


class SimulatedDevice:
    """sim:cuda, sim:hpu or sim:npu: the CPU computes, and the device's work is counted.

    A name may end in a release of the vendor's software, ``sim:hpu@1.12``.
    """

    def __init__(self, name: str) -> None:
        self.kind = kind_of(name)
        self.name = name
        self._accounting: DeviceAccounting | None = None

    @property
    def accounting(self) -> DeviceAccounting:
        """The simulation's accounting, which :meth:`prepare` opens."""
        if self._accounting is None:
            raise RuntimeError(f"{self.name}: call prepare() first")
        return self._accounting

    def prepare(self) -> None:
        from porter.device.sim.accounting.ledger import accounting_of, open_accounting
        from porter.device.sim.activate import activate
        from porter.migrate.migration import activate_from_environment

        if self._accounting is None:
            machine = activate(self.name)
            self._accounting = accounting_of(self.kind) or open_accounting(machine)
            activate_from_environment(self.kind)

    def title(self) -> str:
        release = self.name.partition("@")[2]
        software = f", software {release}" if release else ""
        return f"simulated {self.accounting.machine.profile.title}{software}"

    def synchronize(self) -> None:
        """Count a host sync; there is nothing to wait for."""
        self.accounting.synchronize(f"{self.name}.synchronize")

    def counters(self, root: Path | None = None) -> dict[str, Any]:
        return {**self.accounting.as_json(root), "device": self.name}

    def reset_counters(self) -> None:
        """Restart all counts at zero. Graphs stay compiled, as on the device."""
        self.accounting.reset()


def open_device(name: str) -> Device:
    """Return the device called ``name``, one of :data:`DEVICES`.

    :meth:`Device.prepare` imports and starts it. Raises BadInput for another name.
    """
    if name not in DEVICES:
        raise BadInput(f"device {name!r}: expected one of {', '.join(DEVICES)}")
    if name.startswith("sim:"):
        return SimulatedDevice(name)
    return RealDevice(name)
