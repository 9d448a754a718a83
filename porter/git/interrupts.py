"""Ctrl-C waits until a step that must not be cut in two has ended."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Hold SIGINT back until the block ends, then act on it. May be nested.

    Outside the main thread nothing is done: Python raises KeyboardInterrupt in the main one only.
    """
    pressed: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        pressed.append(number)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
        if pressed:
            signal.raise_signal(signal.SIGINT)
