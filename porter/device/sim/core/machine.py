"""The state of one simulated device type: its devices, observers and counters."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch._ops import OpOverload

from porter.device.sim.core.dispatch import Observer, Run, Settle, compile_op
from porter.device.sim.core.op_schema import facts_of
from porter.device.sim.core.profiles import Profile
from porter.interception.source_lines import Site, user_site

MakeKernel = Callable[[OpOverload, "Machine", type[torch.Tensor]], Run]
"""Makes the kernel of an op on one device, given as its tensor class."""


@dataclass(frozen=True, slots=True)
class CountedEvent:
    """One line of the report: ``kind`` ("cpu_fallback", "host_sync", "h2d", ...), the op or call
    that caused it, the site, and a detail that is part of the event's identity."""

    kind: str
    what: str
    site: Site
    detail: str = ""


class Counters:
    """Totals and events of one simulated device, exact and the same on every machine.

    They say what a program requested of the device, never how long it would have taken.
    ``totals["h2d_bytes"]`` and the like are integers; ``events`` counts equal events, in order of
    first appearance.
    """

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self.events: dict[CountedEvent, int] = {}

    def add(self, name: str, amount: int = 1) -> None:
        """Add to a total, without an event."""
        self.totals[name] += amount

    def event(
        self, kind: str, what: str, detail: str = "", site: Site | None = None
    ) -> CountedEvent:
        """Count one event of ``kind`` at the user's line, and add one to the total ``kind``."""
        event = CountedEvent(kind, what, site or user_site(2), detail)
        self.totals[kind] += 1
        self.events[event] = self.events.get(event, 0) + 1
        return event

    def of_kind(self, kind: str) -> dict[CountedEvent, int]:
        """Return the events of one kind with their counts."""
        return {event: count for event, count in self.events.items() if event.kind == kind}

    def reset(self) -> None:
        """Clear totals and events."""
        self.totals.clear()
        self.events.clear()

    def as_json(self, root: Path | None = None) -> dict[str, Any]:
        """Return totals and events as JSON-able data, with sites relative to ``root``."""
        return {
            "simulated": True,
            "totals": dict(sorted(self.totals.items())),
            "events": [
                {
                    "kind": event.kind,
                    "what": event.what,
                    "site": str(event.site.relative_to(root)),
                    "source": event.site.source,
                    "detail": event.detail,
                    "count": count,
                }
                for event, count in self.events.items()
            ],
        }


class Machine:
    """A simulated machine holding ``profile.device_count`` devices of one type.

    ``classes[i]`` is the tensor class of device ``i``: a tensor's class *is* its device, so
    placement costs no per-tensor state and ``type(t) is cls`` is the whole same-device check.
    :func:`porter.device.sim.activate.activate` fills in the classes, the generators and the
    kernels of random ops.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.counters = Counters()
        self._current = threading.local()
        self.classes: tuple[type[torch.Tensor], ...] = ()
        self.generators: tuple[torch.Generator, ...] = ()
        """Each device's default generator."""
        self.random_kernel: Callable[[OpOverload], MakeKernel] | None = None
        """Gives the kernel of a random op that ``overrides`` does not name."""
        self.overrides: dict[str, MakeKernel] = {}
        """Kernels to run instead of the CPU's, by ``aten.normal_`` or ``aten.normal_.default``."""
        self.on_transfer: Callable[[Any], None] | None = None
        """Called with every :class:`~porter.device.sim.core.transfer.Transfer` before the data
        moves."""
        self.narrow: dict[torch.dtype, Callable[[torch.Tensor, str], torch.Tensor]] = {}
        """By dtype, what gives the values that a copy of a host's tensor leaves on the device."""
        self.check_fp8: Callable[[torch.Tensor, str], None] | None = None
        """Called with a host's float8_e4m3fn tensor that is copied to the device."""
        self.on_arrival: Callable[[torch.Tensor], None] | None = None
        """Called with the host's tensor after an asynchronous copy to the host."""
        self.on_dtype: Callable[[torch.dtype, str], None] | None = None
        """Called when a dtype that the device lacks is requested and not refused."""
        self.on_synchronize: Callable[[str], None] | None = None
        """Called when the script waits for the device, with the name of the call."""
        self.refused_dtypes: dict[torch.dtype, str] = {}
        """Dtypes that a setting of the script's makes the device refuse, with the error's text."""
        self.was_used = False
        """Whether anything was put on a device, or asked of one."""
        self.on_use_after_fork: Callable[[Machine], None] | None = None
        """Called at uses in a process that was forked after the device was used."""
        self.is_capturing = False
        """Whether a graph capture is recording this machine's ops."""
        self.ran: set[str] = set()
        """The ops that ran outside captures, without their overload (``aten.mm``)."""
        self.warned_captures: set[Site] = set()
        """The lines whose captures were warned of for ops that had not run before."""
        self.observers: tuple[Observer, ...] = ()
        """The observers in the order in which they see an op."""
        self._compiled: list[tuple[OpOverload, str]] = []
        self._creation: dict[str, tuple[Callable[[Any, Any, Any], None], ...]] = {}

    @property
    def current_index(self) -> int:
        """The index of this thread's current device, as on CUDA; 0 in a new thread."""
        return getattr(self._current, "index", 0)

    @current_index.setter
    def current_index(self, index: int) -> None:
        self._current.index = index

    def observe(self, observer: Observer) -> None:
        """Let an observer see the ops from now on."""
        self.observers = (*self.observers, observer)
        self.forget_compiled()

    def unobserve(self, observer: Observer) -> None:
        """Undo :meth:`observe`."""
        self.observers = tuple(other for other in self.observers if other is not observer)
        self.forget_compiled()

    def forget_compiled(self) -> None:
        """Discard the generated functions, which hold the present observers and overrides."""
        for op, attribute in self._compiled:
            op.__dict__.pop(attribute, None)
        self._compiled.clear()
        self._creation.clear()

    def compile(
        self, op: OpOverload, cls: type[torch.Tensor], attribute: str, settle: Settle
    ) -> Run:
        """Generate the function that runs ``op`` on device ``cls`` and store it on the op."""
        if self.on_use_after_fork is not None:
            self.on_use_after_fork(self)
        run = compile_op(op, cls, self.observers, settle, self.override(op, cls))
        if not self.is_capturing:
            self.ran.add(facts_of(op).packet)
        setattr(op, attribute, run)
        self._compiled.append((op, attribute))
        return run

    def override(self, op: OpOverload, cls: type[torch.Tensor]) -> Run | None:
        """Return what runs ``op`` on device ``cls`` instead of the CPU kernel, if anything does."""
        make = self.overrides.get(str(op)) or self.overrides.get(str(op._overloadpacket))
        if make is None and self.random_kernel is not None and facts_of(op).is_random:
            make = self.random_kernel(op)
        return None if make is None else make(op, self, cls)

    def check_dtype(self, dtype: torch.dtype, what: str) -> torch.dtype:
        """Return the dtype a tensor gets on this device when ``dtype`` is requested.

        Raises TypeError where the device refuses it, RuntimeError where a setting makes it refuse.
        """
        if dtype in self.refused_dtypes:
            raise RuntimeError(self.refused_dtypes[dtype])
        policy = self.profile.unsupported_dtypes.get(str(dtype).removeprefix("torch."))
        if policy is None:
            return dtype
        if policy == "refused":
            raise TypeError(f"{self.profile.title}: {what}: {dtype} is not supported by the device")
        if self.on_dtype is not None:
            self.on_dtype(dtype, what)
        if policy.startswith("cast:"):
            cast: torch.dtype = getattr(torch, policy.removeprefix("cast:"))
            return cast
        return dtype

    def created(self, name: str, args: Any, kwargs: dict[str, Any], out: torch.Tensor) -> None:
        """Show the observers a tensor that a factory made, as a run of the op ``name``."""
        callbacks = self._creation.get(name)
        if callbacks is None:
            namespace, packet, overload = name.split(".")
            op = getattr(getattr(getattr(torch.ops, namespace), packet), overload)
            watches = [observer.watch(facts_of(op)) for observer in self.observers]
            callbacks = tuple(watch.after for watch in watches if watch is not None and watch.after)
            self._creation[name] = callbacks
            if not self.is_capturing:
                self.ran.add(facts_of(op).packet)
        for after in callbacks:
            after(args, kwargs, out)

    def synchronized(self, what: str) -> None:
        """Report that the script waits for the device in the call ``what``."""
        if self.on_synchronize is not None:
            self.on_synchronize(what)

    def device(self, index: int | None = None) -> torch.device:
        """The device with this index, or the current one."""
        return torch.device(self.profile.name, self.current_index if index is None else index)

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is on one of these devices.

        ``type(tensor) in machine.classes`` does not say so: the classes equal ``torch.Tensor``,
        for the programs that compare a tensor's type with it.
        """
        return any(type(tensor) is cls for cls in self.classes)

    def class_of(self, device: torch.device) -> type[torch.Tensor]:
        """The tensor class of a device of this type.

        Raises RuntimeError for an index out of range.
        """
        self.was_used = True
        if self.on_use_after_fork is not None:
            self.on_use_after_fork(self)
        index = self.current_index if device.index is None else device.index
        if index >= len(self.classes):
            raise RuntimeError(
                f"{self.profile.name.upper()} error: invalid device ordinal {index}: simulated "
                f"with {len(self.classes)} devices"
            )
        return self.classes[index]


machines: dict[str, Machine] = {}
"""The machines simulated in this process, by device type ("hpu")."""


def accelerator() -> Machine | None:
    """The machine that ``torch.accelerator`` and bare device indices mean: the latest activated."""
    return next(reversed(machines.values()), None)
