"""What runs now, what is done and what is left: a live display on a terminal, lines elsewhere.

On a terminal: a bar over all runs, and a line for each that is under way. Elsewhere, in a log, at
most one line in :data:`LINE_SECONDS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live

LINE_SECONDS = 30.0
_MOST_LINES = 8
_BAR_WIDTH = 24


class RunningDisplay:
    """Hears of runs (:class:`porter.verify.session.Observer`) and shows them on ``console``."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._told = self._began
        self._expected = 0
        self._ended = {"made": 0, "cached": 0, "failed": 0, "dropped": 0}
        self._running: dict[str, float] = {}
        self._passing = ""
        self._live: Live | None = None

    def __enter__(self) -> RunningDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._passing = ""
        self._console.print(f"porter: {line}", markup=False, soft_wrap=True)

    def progress(self, line: str) -> None:
        """Show a line until the next thing happens."""
        self._passing = line
        self._show()

    def expect(self, runs: int) -> None:
        """So many runs more are to be made or found."""
        self._expected += runs

    def started(self, run: str) -> None:
        """A run is under way."""
        self._passing = ""
        self._running[run] = self._clock()
        self._show()

    def ended(self, run: str, how: str) -> None:
        """A run is there, or is not wanted any more."""
        self._running.pop(run, None)
        self._ended[how] += 1
        if how != "cached" or self._live is not None:
            self._show()

    def clear(self) -> None:
        """Take the moving part away, until the next thing happens."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def line(self) -> str:
        """What is done, what runs and what is left, in one line."""
        done = sum(self._ended.values())
        parts = [f"{done} of {self._expected} runs done{self._notes()}"]
        parts += [f"{_duration(self._clock() - self._began)}"]
        if self._running:
            oldest = min(self._running, key=lambda run: self._running[run])
            more = f" and {len(self._running) - 1} more" if len(self._running) > 1 else ""
            since = _duration(self._clock() - self._running[oldest])
            parts.append(f"now {oldest} (for {since}){more}")
        return ", ".join(parts)

    def _notes(self) -> str:
        cached, failed = self._ended["cached"], self._ended["failed"]
        notes = [f"{cached} from the cache"] if cached else []
        notes += [f"{failed} failed"] if failed else []
        return f" ({', '.join(notes)})" if notes else ""

    def _show(self) -> None:
        if not self._console.is_terminal:
            if self._clock() - self._told >= LINE_SECONDS:
                self._told = self._clock()
                self._console.print(f"porter: {self.line()}", markup=False, soft_wrap=True)
            return
        if self._live is None:
            from rich.live import Live

            self._live = Live(
                self, console=self._console, transient=True, refresh_per_second=4, screen=False
            )
            self._live.start()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        done = sum(self._ended.values())
        elapsed = _duration(self._clock() - self._began)
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(f"{done}/{self._expected}"),
            ProgressBar(max(self._expected, 1), done, width=_BAR_WIDTH),
            Text(f"{elapsed}{self._notes()}", style="dim"),
        )
        yield head
        if self._passing:
            yield Text(f"  {self._passing}", overflow="ellipsis", no_wrap=True)
        shown = sorted(self._running.items(), key=lambda item: item[1])
        for run, since in shown[:_MOST_LINES]:
            spent = _duration(self._clock() - since)
            room = max(options.max_width - len(spent) - 4, 10)
            line = Text(f"  {run}", overflow="ellipsis", no_wrap=True)
            line.truncate(room, overflow="ellipsis", pad=True)
            yield line + Text(f"  {spent}", style="dim")
        if len(shown) > _MOST_LINES:
            yield Text(f"  and {len(shown) - _MOST_LINES} more", style="dim")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes else f"{rest} s"
