"""Several runs at once: how many, in what order, and what a stop leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from porter.verify.execution.pool import Retry, WorkerPool
from tests.processes import PATIENCE


def parallel(
    work: Callable[[int], int],
    capacity: int = 2,
    weight: Callable[[int], int] = lambda _: 1,
    wanted: Callable[[int], bool] = lambda _: True,
) -> WorkerPool[int, int]:
    return WorkerPool(work, capacity, weight, wanted, lambda _: None, threading.Event())


class Gauge:
    """How much of the capacity is in use, at most; ``together`` must be under way at once."""

    def __init__(self, together: int) -> None:
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.all_here = threading.Barrier(together, timeout=PATIENCE)

    def use(self, amount: int) -> None:
        with self.lock:
            self.now += amount
            self.most = max(self.most, self.now)
        self.all_here.wait()
        time.sleep(0.01)  # lets one too many come in
        with self.lock:
            self.now -= amount


@pytest.mark.parametrize(("capacity", "weight"), [(1, 1), (3, 1), (4, 2), (2, 9)])
def test_no_more_is_under_way_than_the_capacity_carries(capacity: int, weight: int) -> None:
    together = capacity // min(weight, capacity)
    gauge = Gauge(together)

    def work(number: int) -> int:
        gauge.use(min(weight, capacity))
        return number * number

    done = dict(parallel(work, capacity, lambda _: weight).results(range(12)))

    assert done == {number: number * number for number in range(12)}
    assert gauge.most == together * min(weight, capacity)


def test_two_really_go_on_at_once() -> None:
    both = threading.Barrier(2, timeout=PATIENCE)

    def work(_: int) -> int:
        return both.wait()

    assert len(list(parallel(work).results(range(2)))) == 2


def test_what_is_not_wanted_any_more_is_not_done() -> None:
    done = []

    def work(number: int) -> int:
        done.append(number)
        return number

    results = list(parallel(work, wanted=lambda number: number != 1).results(range(3)))

    assert sorted(done) == [0, 2]
    assert (1, None) in results


def test_what_someone_else_does_just_now_comes_last() -> None:
    asked = []

    def work(number: int) -> int:
        asked.append(number)
        if number == 0 and asked.count(0) == 1:
            raise Retry
        return number

    results = list(parallel(work, capacity=1).results(range(3)))

    assert [number for number, _ in results] == [1, 2, 0]


def test_tasks_that_come_when_another_has_ended_are_waited_for() -> None:
    ended: list[int] = []

    def coming() -> Iterator[int | None]:
        yield 0
        while not ended:
            yield None
        yield 1

    for number, _ in (work := parallel(lambda number: number).results(coming())):
        ended.append(number)

    assert ended == [0, 1]
    work.close()


def test_a_task_that_weighs_nothing_goes_on_beside_a_full_house() -> None:
    both = threading.Barrier(2, timeout=30)

    def work(number: int) -> int:
        both.wait()
        return number

    done = parallel(work, capacity=1, weight=lambda number: number).results([0, 1])

    assert sorted(number for number, _ in done) == [0, 1]


def test_an_error_in_the_work_is_raised_where_the_results_are_taken() -> None:
    def work(number: int) -> int:
        return 1 // number

    with pytest.raises(ZeroDivisionError):
        list(parallel(work, capacity=1).results([1, 0, 2]))


def test_leaving_early_stops_what_is_under_way_and_leaves_no_thread() -> None:
    before = threading.active_count()
    stopped = []
    work: WorkerPool[int, int]

    def wait(number: int) -> int:
        if number:
            work.stop.wait(PATIENCE)
            stopped.append(number)
        return number

    work = parallel(wait, capacity=3)
    with closing(work.results(range(9))) as results:
        next(results)

    assert threading.active_count() == before
    assert 1 in stopped
    assert max(stopped) < 5
