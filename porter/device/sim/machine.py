"""One simulated device type with its indices, observers and counters: the state of a simulation."""

from __future__ import annotations

from typing import Any

import torch
from torch._ops import OpOverload

from porter.device.sim.counters import Counters
from porter.device.sim.dispatch import Observer, Run, compile_op
from porter.device.sim.facts import OpFacts
from porter.device.sim.placement import settle
from porter.device.sim.profile import Profile
from porter.device.sim.tensor import DeviceTensor, make_class


class Machine:
    """A simulated machine holding ``profile.device_count`` devices of one type.

    ``classes[i]`` is the tensor class of device ``i``: a tensor's class *is* its device, so
    placement costs no per-tensor state and ``type(t) is cls`` is the whole same-device check.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.counters = Counters()
        self.current_index = 0
        self.overrides: dict[str, Any] = {}
        """``aten.normal_`` or ``aten.normal_.default`` -> factory ``(facts, machine, cls) ->
        Run``."""
        self._observers: tuple[Observer, ...] = ()
        self._compiled: list[tuple[OpOverload, str]] = []
        self.classes: tuple[type[DeviceTensor], ...] = tuple(
            make_class(self, index) for index in range(profile.device_count)
        )

    @property
    def observers(self) -> tuple[Observer, ...]:
        """The observers in the order in which they see an op."""
        return self._observers

    def observe(self, observer: Observer) -> None:
        """Let an observer see the ops from now on."""
        self._observers = (*self._observers, observer)
        self.forget_compiled()

    def unobserve(self, observer: Observer) -> None:
        """Undo :meth:`observe`."""
        self._observers = tuple(other for other in self._observers if other is not observer)
        self.forget_compiled()

    def forget_compiled(self) -> None:
        """Discard the generated functions: they are made again for the present configuration."""
        for op, attribute in self._compiled:
            op.__dict__.pop(attribute, None)
        self._compiled.clear()

    def compile(self, op: OpOverload, cls: type[DeviceTensor], attribute: str) -> Run:
        """Generate, store and return the function that runs ``op`` on device ``cls``."""

        def settle_here(facts: OpFacts, args: Any, kwargs: Any) -> Any:
            return settle(self, cls, facts, args, kwargs)

        name, packet = str(op), str(op._overloadpacket)
        make = self.overrides.get(name) or self.overrides.get(packet)
        override = make(op, self, cls) if make is not None else None
        run = compile_op(op, cls, self._observers, settle_here, override)
        setattr(op, attribute, run)
        self._compiled.append((op, attribute))
        return run

    def device(self, index: int | None = None) -> torch.device:
        """The device with this index, or the current one."""
        return torch.device(self.profile.name, self.current_index if index is None else index)

    def class_of(self, device: torch.device) -> type[DeviceTensor]:
        """The tensor class of a device of this type; raises RuntimeError for an index out of
        range."""
        index = self.current_index if device.index is None else device.index
        if index >= len(self.classes):
            raise RuntimeError(
                f"{self.profile.name.upper()} error: invalid device ordinal {index}: simulated with "
                f"{len(self.classes)} devices"
            )
        return self.classes[index]


machines: dict[str, Machine] = {}
"""The simulated device types of this process, by device type ("hpu")."""


def machine_of(device: torch.device | str) -> Machine | None:
    """Return the simulation of a device's type, or None when that type is not simulated."""
    kind = device.type if isinstance(device, torch.device) else device.partition(":")[0]
    return machines.get(kind)
