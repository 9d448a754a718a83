"""The table of ``porter verify --timings``: where the time of a verification went."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from porter.terminal import counted

if TYPE_CHECKING:
    from porter.verify.execution.timings import Timings

_LONGEST = 5


def print_timings(console: Console, timings: Timings, capacity: int) -> None:
    """Print seconds by kind of work, those of the runs by stage, and the longest runs.

    Kinds overlap: runs are made beside each other and beside the building of environments.
    """
    from porter.verify.execution.timings import RUN

    wall = time.monotonic() - timings.began
    console.print(Text(f"{_seconds(wall)} in all, {capacity} at once at most", "bold"))
    for kind in timings.kinds():
        spans = [span for span in timings.spans if span.kind == kind]
        count = counted(len(spans), "run") if kind == RUN else f"{len(spans)}"
        line = f"  {_seconds(timings.seconds(kind))}  {kind if kind != RUN else 'runs'}: {count}"
        console.print(Text(line), soft_wrap=True)
        for stage, seconds in timings.stages.items() if kind == RUN else ():
            console.print(Text(f"    {_seconds(seconds)}  {stage}"), soft_wrap=True)
    in_runs = timings.seconds(RUN)
    if in_runs == 0:
        return
    ratio = wall / (in_runs / capacity)
    console.print(Text(f"the whole took {ratio:.2f} times the seconds in runs / {capacity}"))
    console.print(Text("longest runs"))
    runs = (span for span in timings.spans if span.kind == RUN)
    for span in sorted(runs, key=lambda span: -span.seconds)[:_LONGEST]:
        console.print(Text(f"  {_seconds(span.seconds)}  {span.name}"), soft_wrap=True)


def _seconds(seconds: float) -> str:
    return f"{seconds:8.1f} s"
