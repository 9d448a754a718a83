"""Streams and events of simulated devices. Everything runs in order, so they order nothing.

``torch.Stream`` and ``torch.Event`` are classes of C++ that ask the device's guard for a stream;
while a simulation runs they are replaced by classes that make the simulated device's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from porter.device.sim.core.machine import Machine, accelerator, machines
from porter.device.sim.core.transfer import as_device
from porter.interception.patching import Patches


@dataclass
class StreamState:
    """The streams of one machine: its default one, and the one chosen last."""

    default: Stream | None = None
    chosen: Stream | None = None


class Stream:
    """A stream of a simulated device."""

    machine: Machine
    state: StreamState
    event_type: type[Event]

    def __init__(self, device: Any = None, priority: int = 0, **_: Any) -> None:
        device = torch.device(device) if isinstance(device, str) else device
        index = device.index if isinstance(device, torch.device) else device
        self.device = self.machine.device(index if isinstance(index, int) else None)
        self.machine.class_of(self.device)  # an index out of range raises, as on the device
        self.device_index: int = self.device.index
        self.priority = priority
        self.stream_id = self.cuda_stream = id(self)
        self._outer: list[Stream] = []

    @classmethod
    def default_stream(cls, device: Any = None) -> Stream:  # noqa: ARG003
        """Return the stream that is used when none is chosen."""
        if cls.state.default is None:
            cls.state.default = cls()
        return cls.state.default

    @classmethod
    def current_stream(cls, device: Any = None) -> Stream:  # noqa: ARG003
        """Return the stream in use."""
        return cls.state.chosen or cls.default_stream()

    @classmethod
    def set_stream(cls, stream: Stream | None) -> None:
        """Use this stream from now on."""
        cls.state.chosen = stream

    def synchronize(self) -> None:
        """Wait until the stream's work is done: counted as a host sync."""
        self.machine.synchronized("Stream.synchronize")

    def is_capturing(self) -> bool:
        """Whether a graph is being captured from the stream."""
        return self.machine.is_capturing

    def query(self) -> bool:
        """Whether all work is done: always True."""
        return True

    def wait_stream(self, stream: Any) -> None:
        """Run after another stream's work: always the case."""

    def wait_event(self, event: Any) -> None:
        """Run after an event: always the case."""

    def record_event(self, event: Any = None) -> Any:
        """Record an event in this stream and return it."""
        event = event or self.event_type()
        event.record(self)
        return event

    def __enter__(self) -> Stream:
        self._outer.append(self.current_stream())
        self.set_stream(self)
        return self

    def __exit__(self, *error: Any) -> None:
        self.set_stream(self._outer.pop())

    def __repr__(self) -> str:
        return f"<simulated stream on {self.device}>"


class Event:
    """An event recorded in a stream."""

    machine: Machine

    def __init__(self, *_: Any, **__: Any) -> None:
        self.recorded = False
        self.device = torch.device(self.machine.profile.name)  # no index before it is recorded

    def record(self, stream: Any = None) -> None:
        """Record the event in a stream."""
        self.recorded = True
        self.device = self.machine.device() if stream is None else stream.device

    def query(self) -> bool:
        """Whether the work before the event is done: always True."""
        return True

    def wait(self, stream: Any = None) -> None:
        """Make a stream wait for the event: always the case."""

    def synchronize(self) -> None:
        """Wait for the event: counted as a host sync."""
        self.machine.synchronized("Event.synchronize")

    def elapsed_time(self, end_event: Any) -> float:  # noqa: ARG002
        """NaN: a simulated device has no clock."""
        return float("nan")


class StreamContext:
    """``with torch.cuda.stream(s):``; None changes nothing."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            self.stream.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self.stream is not None:
            self.stream.__exit__(*error)


class _Placed(type):
    """Metaclass of ``torch.Stream`` and ``torch.Event``: what they make depends on the device."""

    native: type
    base: type

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        names = ("device", "priority") if cls.base is Stream else ("device",)
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        device = given.pop("device", None)
        machine = accelerator() if device is None else machines.get(as_device(device).type)
        if machine is None or "stream_id" in given or "stream_ptr" in given:
            return cls.native(*args, **kwargs)
        made = getattr(getattr(torch, machine.profile.name), cls.base.__name__)
        if cls.base is Event:
            return made(**given)
        return made(None if device is None else as_device(device), **given)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, (cls.native, cls.base))

    def __subclasscheck__(cls, sub: type) -> bool:
        return issubclass(sub, (cls.native, cls.base))


def _record_stream(tensor: torch.Tensor, stream: Any) -> None:
    """``Tensor.record_stream`` of a tensor that is on no simulated device."""
    if isinstance(stream, Stream):
        raise RuntimeError(  # noqa: TRY004  # as the dispatcher's
            f"record_stream(): the tensor is on {tensor.device}, the stream on {stream.device}"
        )
    torch._C.TensorBase.record_stream(tensor, stream)


def install_streams(patches: Patches) -> None:
    """Make ``torch.Stream(device)`` and ``torch.Event(device)`` serve simulated devices."""
    patches.replace(torch.Tensor, "record_stream", _record_stream)
    for base in (Stream, Event):
        name = base.__name__
        made = _Placed(name, (), {"native": getattr(torch, name), "base": base})
        made.__module__, made.__doc__ = "torch", f"``torch.{name}`` of any device."
        patches.replace(torch, name, made)
