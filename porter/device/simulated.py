"""Simulated devices behind the device interface."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from porter.device.sim.accounting.ledger import DeviceAccounting


class SimulatedDevice:
    """sim:cuda, sim:hpu or sim:npu: the CPU computes, the books say what was asked of the
    device.
    """

    is_simulated = True

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = f"sim:{kind}"
        self._books: DeviceAccounting | None = None

    @property
    def books(self) -> DeviceAccounting:
        """The accounting of the simulation; :meth:`prepare` opens it."""
        if self._books is None:
            raise RuntimeError(f"{self.name}: prepare() it first")
        return self._books

    def prepare(self) -> None:
        """Start the simulation in this process."""
        from porter.device.sim.accounting.ledger import accounting_of, open_accounting
        from porter.device.sim.activate import activate
        from porter.migrate.migration import activate_from_environment

        if self._books is None:
            machine = activate(self.kind)
            self._books = accounting_of(self.kind) or open_accounting(machine)
            activate_from_environment(self.kind)

    def title(self) -> str:
        """The hardware that is simulated."""
        return f"simulated {self.books.machine.profile.title}"

    def supports(self, dtype: Any) -> bool:
        """Whether the profile lets this dtype live and compute on the device."""
        name = str(dtype).removeprefix("torch.")
        return name not in self.books.machine.profile.unsupported_dtypes

    def synchronize(self) -> None:
        """Count a wait; there is nothing to wait for."""
        self.books.synchronize(f"{self.name}.synchronize")

    def counters(self, root: Path | None = None) -> dict[str, Any]:
        """Totals, events, and lazy graphs with their compilations."""
        return self.books.as_json(root)

    def reset_counters(self) -> None:
        """Count from zero. Graphs seen so far stay compiled, as on the device."""
        self.books.reset()

    def peak_memory(self) -> int | None:
        """None: a simulation cannot know."""
        return None
