"""Work done by several threads at once, its results handed out in the thread that asked.

Each thread waits for a process; the work is not done in this one. What is started first, which
results come when: all that may differ from time to time, so nothing may hang on the order.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AGAIN_SECONDS = 0.3


class Retry(Exception):
    """Raised by work that someone else does just now: look again in a while."""


@dataclass
class WorkerPool(Generic[T, R]):
    """Does ``work`` on tasks, as many at once as ``capacity`` carries.

    ``weight`` says what a task takes of the capacity (0: it goes on beside all others), ``wanted``
    whether a task whose turn has come is still to be done, ``started`` hears of each that is.
    ``stop`` is set when the results are not wanted any more; ``work`` has to end soon then.
    """

    work: Callable[[T], R]
    capacity: int
    weight: Callable[[T], int]
    wanted: Callable[[T], bool]
    started: Callable[[T], None]
    stop: threading.Event
    _free: int = 0
    _running: dict[int, tuple[T, threading.Thread]] = field(default_factory=dict)
    _done: SimpleQueue[tuple[int, R | BaseException]] = field(default_factory=SimpleQueue)
    _number: int = 0

    def results(self, tasks: Iterable[T | None]) -> Generator[tuple[T, R | None], None, None]:
        """Yield each task with its result, or with None when it was not wanted any more.

        Tasks are taken from ``tasks`` as there is room for them. None among them says that there is
        none just now: ``tasks`` is asked again when something has ended, and something must be
        under way then. However the caller leaves, no thread is left.
        """
        self._free = self.capacity
        coming = iter(tasks)
        waiting: deque[T] = deque()
        put_off: deque[tuple[float, T]] = deque()
        try:
            while True:
                if not waiting and self._free:
                    waiting.extend(self._taken(coming, put_off))
                while waiting and self._fits(waiting[0]):
                    task = waiting.popleft()
                    if self.wanted(task):
                        self._start(task)
                    else:
                        yield task, None
                    if not waiting:
                        waiting.extend(self._taken(coming, put_off))
                if not self._running and not waiting and not put_off:
                    return
                for task, result in self._ended(_AGAIN_SECONDS if put_off else None):
                    if isinstance(result, Retry):
                        put_off.append((time.monotonic() + _AGAIN_SECONDS, task))
                    elif isinstance(result, BaseException):
                        raise result
                    else:
                        yield task, result
        finally:
            self.stop.set()
            for _, thread in self._running.values():
                thread.join()

    def _taken(self, coming: Iterator[T | None], put_off: deque[tuple[float, T]]) -> list[T]:
        """Return the next task: a new one, else one that was put off long enough ago."""
        for task in coming:
            if task is not None:
                return [task]
            assert self._running or put_off, "nothing is under way that could bring a task"
            break
        if put_off and put_off[0][0] <= time.monotonic():
            return [put_off.popleft()[1]]
        return []

    def _fits(self, task: T) -> bool:
        return not self._running or self._weight(task) <= self._free

    def _weight(self, task: T) -> int:
        return min(self.weight(task), self.capacity)

    def _start(self, task: T) -> None:
        self._number += 1
        number = self._number

        def run() -> None:
            try:
                result: R | BaseException = self.work(task)
            except BaseException as error:
                result = error
            self._done.put((number, result))

        thread = threading.Thread(target=run, name=f"run {number}")
        self._running[number] = task, thread
        self._free -= self._weight(task)
        self.started(task)
        thread.start()

    def _ended(self, seconds: float | None) -> Iterator[tuple[T, R | BaseException]]:
        """Wait for an end, at most so long; yield what ended."""
        try:
            number, result = self._done.get(timeout=seconds)
        except Empty:
            return
        task, thread = self._running.pop(number)
        thread.join()
        self._free += self._weight(task)
        yield task, result
