"""Progress of runs: lines in a log, a live display on a terminal."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import pytest
from rich.console import Console

from porter.report.terminal.progress import LINE_SECONDS, Remaining, RunningDisplay, about


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def display(terminal: bool) -> tuple[RunningDisplay, Clock, io.StringIO]:
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=60, height=20, color_system=None)
    return RunningDisplay(console, clock), clock, out


def make(shown: RunningDisplay, clock: Clock, run: str, seconds: float, how: str = "made") -> None:
    shown.started(run)
    clock.now += seconds
    shown.ended(run, how)


def test_a_log_gets_a_line_now_and_then_with_the_time_left() -> None:
    shown, clock, out = display(terminal=False)
    shown.expect("port/one", 5)
    shown.ended("port/one: 0 upstream, float64", "cached")
    for number in range(3):
        make(shown, clock, f"port/one: {number}", 20, "failed" if number == 2 else "made")

    assert out.getvalue().splitlines() == [
        "porter: 3 of 5 runs done (1 from the cache), 40 s, about 40 s left"
    ]


def test_no_line_of_a_log_repeats_the_one_before() -> None:
    shown, clock, out = display(terminal=False)
    shown.expect("port/one", 40)
    for number in range(9):
        make(shown, clock, f"port/one: {number}", 20)
    shown.started("port/one: long")
    for _ in range(40):  # something happens every 15 s, but no run ends
        clock.now += 15
        shown.progress("pip: downloading")

    lines = out.getvalue().splitlines()
    done = [int(re.findall(r"porter: (\d+) of 40 runs done", line)[0]) for line in lines]
    assert done[:5] == sorted(set(done[:5]))
    assert 3 <= done.count(9) <= 5
    assert all(" left" in line for line in lines)
    assert lines[-1].count("running port/one: long (") == 1


def test_a_log_names_what_is_being_built() -> None:
    shown, clock, out = display(terminal=False)
    shown.expect("port/one", 5)
    shown.building("old")
    shown.progress("old: downloading")
    clock.now += LINE_SECONDS
    make(shown, clock, "port/two: 1", 4)
    shown.built("old", "is ready: 3 packages")

    assert out.getvalue().splitlines() == [
        "porter: building the environment old (once)",
        "porter: 0 of 5 runs done, 30 s, no estimate yet; running port/two: 1 (0 s); "
        "building the environment old (30 s)",
        "porter: environment old is ready: 3 packages (34 s)",
    ]


def test_a_message_that_stays_is_always_a_line() -> None:
    shown, _, out = display(terminal=False)

    shown.progress("downloading")
    shown.say("runs are made elsewhere")

    assert out.getvalue() == "porter: runs are made elsewhere\n"


def test_a_terminal_shows_every_run_under_way_within_its_width() -> None:
    shown, clock, _ = display(terminal=True)
    shown.expect("port/recipe", 9, 90)
    shown.ended("port/recipe: a", "cached")
    shown.started("port/recipe: 1 " + "long " * 20)
    shown.building("old")
    shown.progress("old: downloading numpy")
    clock.now += 75
    shown.started("port/recipe: 2 short, float16")
    shown.clear()
    out = io.StringIO()
    console = Console(file=out, width=60, height=20, force_terminal=True, color_system=None)
    console.print(shown.shown())

    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[0].startswith("1/9 ")
    assert "1:15, about 5:20 left" in lines[0]
    assert lines[1].endswith("…  1:15") or lines[1].endswith("… 1:15")
    assert lines[2].split() == ["port/recipe:", "2", "short,", "float16", "0", "s"]
    assert lines[3].split() == ["environment", "old:", "downloading", "numpy", "1:15"]
    assert [line for line in lines if len(line) > 60] == []


def test_the_time_left_goes_by_the_recipes_own_runs_then_by_earlier_ones() -> None:
    clock = Clock()
    remaining = Remaining(clock)
    remaining.expect("p/made", 3, 500.0)
    remaining.expect("p/known", 2, 7.0)
    remaining.expect("p/new", 1, None)
    assert remaining.seconds() is None  # nothing is known of p/new

    remaining.started("p/made: 0")
    clock.now += 10
    remaining.ended("p/made: 0", is_made=True)

    assert remaining.seconds() == 2 * 10 + 2 * 7 + 1 * 10


def test_runs_under_way_and_in_parallel_reduce_the_time_left() -> None:
    clock = Clock()
    remaining = Remaining(clock)
    remaining.expect("p/one", 4, 10.0)
    remaining.started("p/one: 0")
    remaining.started("p/one: 1")
    clock.now += 4
    remaining.started("p/one: 2")

    assert remaining.seconds() == pytest.approx((10 + 6 + 6 + 10) / 3)

    remaining.ended("p/one: 3", is_made=False)  # found in the cache
    assert remaining.seconds() == pytest.approx((6 + 6 + 10) / 3)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(3, "a few seconds"), (44, "about 40 s"), (128, "about 2:10"), (1900, "about 32 min")],
)
def test_an_estimate_is_rounded(seconds: float, shown: str) -> None:
    assert about(seconds) == shown
