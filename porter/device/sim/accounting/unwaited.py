"""Count asynchronous copies to the host that nothing waited for.

``x.to("cpu", non_blocking=True)`` returns before the data is there (PyTorch allocates pinned memory
for it), so a program that reads the result at once reads garbage on a card: pytorch issues 127612
and 140296. The simulator copies at once and cannot see a read of a CPU tensor. It sees whether the
host waited for the device at all while the result lived: when a result is dropped, or at the
report, and no wait came after its copy, the copy is counted with its line. A result that was read
first and waited for later is not seen.
"""

from __future__ import annotations

import weakref

import torch

from porter.device.sim.core.machine import Counters
from porter.interception.source_lines import Site


class UnwaitedCopies:
    """The results of asynchronous copies to the host since the last wait."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._alive: dict[int, tuple[weakref.ref[torch.Tensor], Site]] = {}
        self._next = 0

    def follow(self, host: torch.Tensor, site: Site) -> None:
        """Follow the result of a copy made at ``site``."""
        self._next += 1
        number = self._next
        reference = weakref.ref(host, lambda _: self._dropped(number))
        self._alive[number] = (reference, site)

    def waited(self) -> None:
        """Everything that was copied has arrived."""
        self._alive.clear()

    def _dropped(self, number: int) -> None:
        found = self._alive.pop(number, None)
        if found is not None:
            self._count(found[1])

    def _count(self, site: Site) -> None:
        self._counters.event("unwaited_copy", "copy to the host, non_blocking=True", site=site)

    def settle(self) -> None:
        """Count the results that are still alive, and follow them no more."""
        for _, site in self._alive.values():
            self._count(site)
        self._alive.clear()
