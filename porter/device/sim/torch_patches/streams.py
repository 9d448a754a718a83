"""Streams and events: everything runs in order on the CPU, so they only keep their promises of
form.

``Event.elapsed_time`` is NaN: the simulator never speaks of seconds.
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
    """A queue of work on a simulated device."""

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
        """The stream that work goes to when none is chosen."""
        if cls.state.default is None:
            cls.state.default = cls()
        return cls.state.default

    @classmethod
    def current_stream(cls, device: Any = None) -> Stream:  # noqa: ARG003
        """The stream that work goes to now."""
        return cls.state.chosen or cls.default_stream()

    @classmethod
    def set_stream(cls, stream: Stream | None) -> None:
        """Send work to this stream from now on."""
        cls.state.chosen = stream

    def synchronize(self) -> None:
        """Wait for the work in the stream."""
        self.machine.synchronized("Stream.synchronize")

    def is_capturing(self) -> bool:
        """Whether a graph is being captured from the stream."""
        return self.machine.is_capturing

    def query(self) -> bool:
        """Whether all work is done: always."""
        return True

    def wait_stream(self, stream: Any) -> None:
        """Order after another stream's work: as it is anyway."""

    def wait_event(self, event: Any) -> None:
        """Order after an event: as it is anyway."""

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
    """A mark in a stream."""

    machine: Machine

    def __init__(self, *_: Any, **__: Any) -> None:
        self.recorded = False

    def record(self, stream: Any = None) -> None:  # noqa: ARG002
        """Mark the place that the stream is at."""
        self.recorded = True

    def query(self) -> bool:
        """Whether the work before the mark is done: always."""
        return True

    def wait(self, stream: Any = None) -> None:
        """Make a stream wait for the mark: as it does anyway."""

    def synchronize(self) -> None:
        """Wait for the mark."""
        self.machine.synchronized("Event.synchronize")

    def elapsed_time(self, end_event: Any) -> float:  # noqa: ARG002
        """NaN: a simulated device has no clock."""
        return float("nan")


class StreamContext:
    """``with torch.cuda.stream(s):``; a None stream changes nothing."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            self.stream.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self.stream is not None:
            self.stream.__exit__(*error)
