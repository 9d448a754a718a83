"""Streams and events. Everything runs in order on the CPU, so they order nothing.

``Event.elapsed_time`` is NaN: the simulator measures no time.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch

from porter.device.sim.core.machine import Machine


@dataclass
class StreamState:
    """The streams of one machine: its default one, and the one chosen last."""

    default: Stream | None = None
    chosen: Stream | None = None


class Stream:
    """A stream of a simulated device."""

    machine: Machine
    state: StreamState

    def __init__(self, device: Any = None, priority: int = 0, **_: Any) -> None:
        index = device.index if isinstance(device, torch.device) else device
        self.device = self.machine.device(index if isinstance(index, int) else None)
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
        event = event or type("Event", (Event,), {"machine": self.machine})()
        event.record(self)
        return event

    def __enter__(self) -> Stream:
        self._outer.append(self.current_stream())
        self.set_stream(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.set_stream(self._outer.pop())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other.stream_id == self.stream_id

    def __hash__(self) -> int:
        return hash(self.stream_id)

    def __repr__(self) -> str:
        return f"<simulated stream on {self.device}>"


class Event:
    """An event recorded in a stream."""

    machine: Machine

    def __init__(self, *_: Any, **__: Any) -> None:
        self.recorded = False

    def record(self, stream: Any = None) -> None:  # noqa: ARG002
        """Record the event in a stream."""
        self.recorded = True

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
