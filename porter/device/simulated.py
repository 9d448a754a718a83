"""The simulated devices, as a :class:`porter.device.Device`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from porter.device.sim.accounting.ledger import DeviceAccounting


class SimulatedDevice:
    """sim:cuda, sim:hpu or sim:npu: the CPU computes, and the device's work is counted."""

    is_simulated = True

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = f"sim:{kind}"
        self._accounting: DeviceAccounting | None = None

    @property
    def accounting(self) -> DeviceAccounting:
        """The simulation's accounting, which :meth:`prepare` opens."""
        if self._accounting is None:
            raise RuntimeError(f"{self.name}: call prepare() first")
        return self._accounting

    def prepare(self) -> None:
        """Start the simulation in this process."""
        from porter.device.sim.accounting.ledger import accounting_of, open_accounting
        from porter.device.sim.activate import activate
        from porter.migrate.migration import activate_from_environment

        if self._accounting is None:
            machine = activate(self.kind)
            self._accounting = accounting_of(self.kind) or open_accounting(machine)
            activate_from_environment(self.kind)

    def title(self) -> str:
        """The name of the simulated hardware."""
        return f"simulated {self.accounting.machine.profile.title}"

    def supports(self, dtype: Any) -> bool:
        """Whether the device has this dtype, according to its profile."""
        name = str(dtype).removeprefix("torch.")
        return name not in self.accounting.machine.profile.unsupported_dtypes

    def synchronize(self) -> None:
        """Count a host sync; there is nothing to wait for."""
        self.accounting.synchronize(f"{self.name}.synchronize")

    def counters(self, root: Path | None = None) -> dict[str, Any]:
        """Return totals, events, and lazy graphs with their compilations."""
        return self.accounting.as_json(root)

    def reset_counters(self) -> None:
        """Restart all counts at zero. Graphs stay compiled, as on the device."""
        self.accounting.reset()

    def peak_memory(self) -> int | None:
        """None: memory is not modelled."""
        return None
