"""A pool of worker threads whose results are yielded on the calling thread.

Each worker waits for a process. The order of starts and results varies; callers must not rely on
it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_RETRY_SECONDS = 0.3


class Retry(Exception):
    """Raised by work that another process is doing: try again later."""


@dataclass
class WorkerPool(Generic[T, R]):
    """Does ``work`` on tasks in parallel, within ``capacity``.

    ``weight`` is what a task takes of the capacity (0: nothing), ``wanted`` whether a task is still
    needed when its turn comes, ``started`` is called with each task that starts. ``stop`` is set
    when the results are no longer needed; ``work`` must end soon then.
    """

    work: Callable[[T], R]
    capacity: int
    weight: Callable[[T], int]
    wanted: Callable[[T], bool]
    started: Callable[[T], None]
    stop: threading.Event
    _free: int = 0
    _running: dict[Future[R], T] = field(default_factory=dict)

    def results(self, tasks: Iterable[T | None]) -> Generator[tuple[T, R | None], None, None]:
        """Yield each task with its result, or with None when it was no longer needed.

        ``tasks`` is read as capacity allows. A None among them means "none now": ``tasks`` is read
        again after the next end, and something must be under way then. When the generator closes,
        no thread is left.
        """
        self._free = self.capacity
        # Tasks of weight 0 run beside a full capacity; a thread is started when none is idle.
        self._threads = ThreadPoolExecutor(sys.maxsize, "run")
        pending = iter(tasks)
        waiting: deque[T] = deque()
        delayed: deque[tuple[float, T]] = deque()
        try:
            while True:
                if not waiting and self._free:
                    waiting.extend(self._taken(pending, delayed))
                while waiting and self._fits(waiting[0]):
                    task = waiting.popleft()
                    if self.wanted(task):
                        self._start(task)
                    else:
                        yield task, None
                    if not waiting:
                        waiting.extend(self._taken(pending, delayed))
                if not self._running and not waiting and not delayed:
                    return
                for task, result in self._ended(_RETRY_SECONDS if delayed else None):
                    if isinstance(result, Retry):
                        delayed.append((time.monotonic() + _RETRY_SECONDS, task))
                    elif isinstance(result, BaseException):
                        raise result
                    else:
                        yield task, result
        finally:
            self.stop.set()
            self._threads.shutdown()

    def _taken(self, pending: Iterator[T | None], delayed: deque[tuple[float, T]]) -> list[T]:
        """Return the next task: a new one, else one whose delay is over."""
        for task in pending:
            if task is not None:
                return [task]
            assert self._running or delayed, "nothing is under way that could bring a task"
            break
        if delayed and delayed[0][0] <= time.monotonic():
            return [delayed.popleft()[1]]
        return []

    def _fits(self, task: T) -> bool:
        return not self._running or self._weight(task) <= self._free

    def _weight(self, task: T) -> int:
        return min(self.weight(task), self.capacity)

    def _start(self, task: T) -> None:
        self._free -= self._weight(task)
        self.started(task)
        self._running[self._threads.submit(self.work, task)] = task

    def _ended(self, seconds: float | None) -> Iterator[tuple[T, R | BaseException]]:
        """Wait at most ``seconds`` for a task to end; yield each that ended with its result."""
        if not self._running and seconds:
            time.sleep(seconds)  # only tasks that another process is doing: wait() returns at once
        for future in wait(self._running, seconds, FIRST_COMPLETED).done:
            task = self._running.pop(future)
            self._free += self._weight(task)
            yield task, future.exception() or future.result()
