"""How often each op ran on the device: what "fewer kernels" in a patch's claim is counted with."""

from __future__ import annotations

from typing import Any

from porter.device.sim.core.dispatch import Watch
from porter.device.sim.core.op_schema import OpFacts

_NO_KERNEL = ("aten.detach", "aten.alias", "aten.lift_fresh", "aten.empty", "aten.empty_like",
              "aten.empty_strided", "aten.new_empty", "aten.new_empty_strided")  # fmt: skip


class OpCounts:
    """Observer that counts runs by op. Replays of captured graphs are not runs: nothing
    dispatches.
    """

    def __init__(self) -> None:
        self._cells: dict[str, list[int]] = {}
        self._without_kernel: set[str] = set()

    def watch(self, op: OpFacts) -> Watch:
        """Count runs of ``op``."""
        cell = self._cells.setdefault(op.name, [0])
        if op.is_view or op.packet in _NO_KERNEL:
            self._without_kernel.add(op.name)
        return Watch(count=cell)

    def by_name(self) -> dict[str, int]:
        """Runs by op overload, most first."""
        found = {name: cell[0] for name, cell in self._cells.items() if cell[0]}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @property
    def ops(self) -> int:
        """All runs."""
        return sum(cell[0] for cell in self._cells.values())

    @property
    def kernels(self) -> int:
        """Runs that launch something: views and bare allocations do not."""
        return sum(
            cell[0] for name, cell in self._cells.items() if name not in self._without_kernel
        )

    def reset(self) -> None:
        """Count from zero."""
        for cell in self._cells.values():
            cell[0] = 0

    def as_json(self) -> dict[str, Any]:
        """Totals and runs by op."""
        return {"ops": self.ops, "kernels": self.kernels, "by_op": self.by_name()}
