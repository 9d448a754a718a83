"""One simulated device type with its indices, observers and counters: the state of a simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload

from porter.device.sim.core.counters import Counters
from porter.device.sim.core.dispatch import Observer, Run, compile_op
from porter.device.sim.core.op_schema import OpFacts, facts_of
from porter.device.sim.core.placement import settle
from porter.device.sim.core.profile import Profile
from porter.device.sim.core.tensor import DeviceTensor, make_class
from porter.device.sim.rng.generator import make_generator
from porter.device.sim.torch_patches.streams import Stream


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
        self.on_transfer: Callable[[Any], None] | None = None
        """Told of every :class:`~porter.device.sim.core.transfer.Transfer` before the data
        moves."""
        self.on_dtype: Callable[[torch.dtype, str], None] | None = None
        """Told when a dtype that the device lacks is asked for and not refused."""
        self.on_synchronize: Callable[[str], None] | None = None
        """Told when the script waits for the device, with the name of the call."""
        self.is_capturing = False
        """Whether a graph capture is recording this machine's ops."""
        self._observers: tuple[Observer, ...] = ()
        self._compiled: list[tuple[OpOverload, str]] = []
        self._creation: dict[str, tuple[Callable[[Any, Any, Any], None], ...]] = {}
        self.stream_type: type[Stream] = Stream
        self._default_stream: Stream | None = None
        self._stream: Stream | None = None
        self.generators = tuple(make_generator(self, i) for i in range(profile.device_count))
        """Each device's default generator."""
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
        self._creation.clear()

    def compile(self, op: OpOverload, cls: type[DeviceTensor], attribute: str) -> Run:
        """Generate, store and return the function that runs ``op`` on device ``cls``."""

        def settle_here(facts: OpFacts, args: Any, kwargs: Any) -> Any:
            return settle(cls, facts, args, kwargs)

        run = compile_op(op, cls, self._observers, settle_here, self.override(op, cls))
        setattr(op, attribute, run)
        self._compiled.append((op, attribute))
        return run

    def override(self, op: OpOverload, cls: type[DeviceTensor]) -> Run | None:
        """Return what runs ``op`` on device ``cls`` instead of the CPU kernel, if anything does."""
        from porter.device.sim.rng.random_ops import random_override

        make = self.overrides.get(str(op)) or self.overrides.get(str(op._overloadpacket))
        if make is None and facts_of(op).is_random:
            make = random_override(op)
        run: Run | None = make(op, self, cls) if make is not None else None
        return run

    def check_dtype(self, dtype: torch.dtype, what: str) -> torch.dtype:
        """Return the dtype a tensor gets on this device when ``dtype`` is asked for.

        Raises TypeError where the device refuses it.
        """
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
        """Tell the observers of a tensor that a factory made, as a run of the op ``name``."""
        told = self._creation.get(name)
        if told is None:
            namespace, packet, overload = name.split(".")
            op = getattr(getattr(getattr(torch.ops, namespace), packet), overload)
            watches = [observer.watch(facts_of(op)) for observer in self._observers]
            told = tuple(watch.after for watch in watches if watch is not None and watch.after)
            self._creation[name] = told
        for after in told:
            after(args, kwargs, out)

    def synchronized(self, what: str) -> None:
        """The script waits for the device."""
        if self.on_synchronize is not None:
            self.on_synchronize(what)

    def default_stream(self) -> Stream:
        """The stream that work goes to when none is chosen."""
        if self._default_stream is None:
            self._default_stream = self.stream_type()
        return self._default_stream

    def current_stream(self) -> Stream:
        """The stream that work goes to now."""
        return self._stream or self.default_stream()

    def set_stream(self, stream: Stream | None) -> None:
        """Send work to this stream from now on."""
        self._stream = stream

    def device(self, index: int | None = None) -> torch.device:
        """The device with this index, or the current one."""
        return torch.device(self.profile.name, self.current_index if index is None else index)

    def class_of(self, device: torch.device) -> type[DeviceTensor]:
        """The tensor class of such a device; raises RuntimeError for an index out of
        range."""
        index = self.current_index if device.index is None else device.index
        if index >= len(self.classes):
            raise RuntimeError(
                f"{self.profile.name.upper()} error: invalid device ordinal {index}: simulated "
                f"with {len(self.classes)} devices"
            )
        return self.classes[index]


machines: dict[str, Machine] = {}
"""The simulated device types of this process, by device type ("hpu")."""


def machine_of(device: torch.device | str) -> Machine | None:
    """Return the simulation of a device's type, or None when that type is not simulated."""
    kind = device.type if isinstance(device, torch.device) else device.partition(":")[0]
    return machines.get(kind)
