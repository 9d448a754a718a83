"""What is shown of the runs while they go on."""

from __future__ import annotations

import io
from dataclasses import dataclass

from rich.console import Console

from porter.report.running import LINE_SECONDS, RunningDisplay


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def display(terminal: bool) -> tuple[RunningDisplay, Clock, io.StringIO]:
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=60, height=20, color_system=None)
    return RunningDisplay(console, clock), clock, out


def test_a_log_gets_a_line_now_and_then() -> None:
    shown, clock, out = display(terminal=False)
    shown.expect(4)
    shown.ended("port/one: 0 upstream, float64", "cached")
    for number in range(3):
        shown.started(f"port/one: {number}")
        clock.now += LINE_SECONDS * 0.6
        shown.ended(f"port/one: {number}", "failed" if number else "made")
    shown.clear()

    assert (
        out.getvalue().splitlines()
        == ["porter: 2 of 4 runs done (1 from the cache), 36 s, now port/one: 1 (for 0 s)"]
        or out.getvalue().count("\n") == 1
    )
    assert "of 4 runs done (1 from the cache" in out.getvalue()


def test_what_is_worth_keeping_is_always_a_line() -> None:
    shown, _, out = display(terminal=False)

    shown.progress("downloading")
    shown.say("building the environment")

    assert out.getvalue() == "porter: building the environment\n"


def test_a_terminal_shows_every_run_under_way_within_its_width() -> None:
    shown, clock, _ = display(terminal=True)
    shown.expect(9)
    shown.ended("a", "made")
    shown.started("port/recipe: 1 " + "long " * 20)
    clock.now += 75
    shown.started("port/recipe: 2 short, float16")
    shown.clear()
    out = io.StringIO()
    Console(file=out, width=60, height=20, force_terminal=True, color_system=None).print(shown)

    lines = out.getvalue().splitlines()
    assert lines[0].startswith("1/9 ")
    assert "1:15" in lines[0]
    assert lines[1].rstrip().endswith("…  1:15")
    assert lines[2].split() == ["port/recipe:", "2", "short,", "float16", "0", "s"]
    assert [line for line in lines if len(line) > 60] == []
