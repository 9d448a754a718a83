"""Progress of transfers and runs: a live display on a terminal, a line now and then in a log.

Transfers are shown on a terminal alone. Runs have there a bar over all of them, and a line for each
that is under way; in a log, at most one line in :data:`LINE_SECONDS`, and only when a run has ended
since the last line; while none ends, each line waits twice as long as the one before.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from porter.upstream.gitfetch import Progress
    from porter.verify.execution.session import Options, Session
    from porter.verify.plan.trees import Trees

LINE_SECONDS = 30.0
_MOST_LINES = 8
_BAR_WIDTH = 24
_GRAIN = 10


@contextmanager
def transfer_bar() -> Iterator[Progress | None]:
    """Show transfers on standard error while the block runs, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[size]}"),
        TimeElapsedColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:

        def show(what: str, done: int, total: int, received: int) -> None:
            if what not in tasks:
                for earlier in tasks.values():
                    bars.update(earlier, visible=False)
                tasks[what] = bars.add_task(what, total=None, size="")
            bars.update(tasks[what], completed=done, total=total or None, size=size_text(received))

        yield show


def size_text(size: int) -> str:
    """Return a size in bytes as people read it: ``17.1 kB``."""
    if size < 1000:
        return f"{size} B"
    power = 3 if size >= 999_950_000 else 2 if size >= 999_950 else 1
    return f"{size / 1000**power:.1f} {('kB', 'MB', 'GB')[power - 1]}"


@contextmanager
def shown_session(
    trees: Trees, options: Options | None = None, cluster: str | None = None
) -> Iterator[tuple[Session, RunningDisplay]]:
    """Give a session that uses porter's cache, and the shared one where the environment names one;
    and the display of its runs on stderr. Runs are made on the machines of ``cluster``, if any."""
    from rich.console import Console

    from porter.places import cache_dir
    from porter.verify.cache.shared import open_shared
    from porter.verify.cache.store import Places
    from porter.verify.execution.session import Options, Session

    options = options or Options()
    with ExitStack() as stack:
        display = stack.enter_context(RunningDisplay(Console(stderr=True, highlight=False)))
        shared = stack.enter_context(open_shared(display.say))
        if cluster is not None:
            from porter.verify.cluster.driver import open_cluster

            options = stack.enter_context(open_cluster(cluster, options, display.say))
        yield Session(trees, Places.under(cache_dir()), display, options, shared), display


class RunningDisplay:
    """Shows runs on ``console``; see :class:`porter.verify.execution.session.RunObserver`."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._logged, self._logged_done, self._wait = self._began, 0, LINE_SECONDS
        self._expected = 0
        self._ended = {"made": 0, "cached": 0, "failed": 0, "dropped": 0}
        self._remaining = Remaining(clock)
        self._building: dict[str, float] = {}
        self._passing = ""
        self._live: Live | None = None
        self._lock = threading.RLock()
        self._over = threading.Event()

    def __enter__(self) -> RunningDisplay:
        if not self._console.is_terminal:
            threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.clear()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        with self._lock:
            self._passing = ""
            self._console.print(f"porter: {line}", markup=False, soft_wrap=True)

    def building(self, environment: str) -> None:
        """An environment is being built, beside the runs."""
        with self._lock:
            self._building[environment] = self._clock()
            self.say(f"building the environment {environment} (once)")

    def progress(self, line: str) -> None:
        """Show a line until there is a newer one."""
        with self._lock:
            self._passing = line
            self._show()

    def built(self, environment: str, how: str) -> None:
        """An environment was built, or could not be."""
        with self._lock:
            since = self._building.pop(environment, self._clock())
            self.say(f"environment {environment} {how} ({duration(self._clock() - since)})")

    def expect(self, recipe: str, runs: int, seconds: float | None = None) -> None:
        """Count more runs to be made or found; ``seconds`` is what one took earlier."""
        with self._lock:
            self._expected += runs
            self._remaining.expect(recipe, runs, seconds)

    def started(self, run: str) -> None:
        """A run started."""
        with self._lock:
            self._remaining.started(run)
            self._show()

    def ended(self, run: str, how: str) -> None:
        """A run ended, or is no longer needed."""
        with self._lock:
            self._remaining.ended(run, how in ("made", "failed"))
            self._ended[how] += 1
            if how != "cached" or self._live is not None:
                self._show()

    def clear(self) -> None:
        """Remove the live display until the next event."""
        with self._lock:
            if self._live is not None:
                self._live.stop()
                self._live = None

    def line(self) -> str:
        """Return in one line what is done, what is left and what runs."""
        line = f"{self._done()} of {self._expected} runs done{self._notes()}, {self._times()}"
        if runs := self._remaining.under_way():
            more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
            line += f"; running {runs[0][0]} ({duration(runs[0][1])}){more}"
        for name, since in self._building.items():
            line += f"; building the environment {name} ({duration(self._clock() - since)})"
        return line

    def _done(self) -> int:
        return sum(self._ended.values())

    def _times(self) -> str:
        """Return the time spent, and an estimate of the time left."""
        spent = duration(self._clock() - self._began)
        if self._done() >= self._expected:
            return spent
        seconds = self._remaining.seconds()
        left = "no estimate yet" if seconds is None else f"{about(seconds)} left"
        return f"{spent}, {left}"

    def _notes(self) -> str:
        cached, failed = self._ended["cached"], self._ended["failed"]
        notes = [f"{cached} from the cache"] if cached else []
        notes += [f"{failed} failed"] if failed else []
        return f" ({', '.join(notes)})" if notes else ""

    def _show(self) -> None:
        if not self._console.is_terminal:
            self._log()
        elif self._live is None:
            from rich.live import Live

            self._live = Live(get_renderable=self.shown, console=self._console, transient=True)
            self._live.start()

    def _log(self) -> None:
        """Print a line if it is time for one."""
        now, done = self._clock(), self._done()
        is_new = done > self._logged_done
        if now - self._logged < (LINE_SECONDS if is_new else self._wait) or not self._expected:
            return
        self._wait = LINE_SECONDS * 2 if is_new else self._wait * 2
        self._logged, self._logged_done = now, done
        self._console.print(f"porter: {self.line()}", markup=False, soft_wrap=True)

    def _tick(self) -> None:
        """Print lines while nothing happens, too."""
        while not self._over.wait(LINE_SECONDS):
            with self._lock:
                self._log()

    def shown(self) -> RenderableType:
        """Return what a terminal shows now."""
        from rich.console import Group
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column
        from rich.text import Text

        def column(text: str, style: str = "none", ratio: int | None = None) -> TextColumn:
            layout = Column(ratio=ratio, no_wrap=True)
            return TextColumn(text, style=style, markup=False, table_column=layout)

        with self._lock:
            whole = Progress(
                column("{task.completed}/{task.total}"),
                BarColumn(_BAR_WIDTH, table_column=Column(min_width=_BAR_WIDTH)),
                column("{task.fields[note]}", "dim"),
                console=self._console,
            )
            note = self._times() + self._notes()
            whole.add_task("", total=max(self._expected, 1), completed=self._done(), note=note)
            each = Progress(
                column("  {task.description}", ratio=1),
                column("{task.fields[spent]}", "dim"),
                console=self._console,
                expand=True,
            )
            runs = self._remaining.under_way()
            for run, spent in runs[:_MOST_LINES]:
                each.add_task(run, total=None, spent=duration(spent))
            for name, since in self._building.items():
                passing = self._passing.removeprefix(f"{name}: ")
                text = f"environment {name}: {passing or 'being built'}"
                each.add_task(text, total=None, spent=duration(self._clock() - since))
            shown: list[RenderableType] = [whole, each] if each.tasks else [whole]
            if len(runs) > _MOST_LINES:
                shown.append(Text(f"  and {len(runs) - _MOST_LINES} more", style="dim"))
            return Group(*shown)


def duration(seconds: float) -> str:
    """Return a duration as people read it: ``9 s``, ``1:05``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes else f"{rest} s"


def about(seconds: float) -> str:
    """Return a duration as an estimate: in steps of ten seconds, then of minutes."""
    if seconds < _GRAIN:
        return "a few seconds"
    if seconds < 600:
        return f"about {duration(round(seconds / _GRAIN) * _GRAIN)}"
    return f"about {round(seconds / 60)} min"


@dataclass
class _RecipeRuns:
    """One recipe's runs: how many are still to start, and how long those made took."""

    waiting: int = 0
    made: int = 0
    seconds: float = 0.0
    usual: float | None = None


@dataclass
class Remaining:
    """Estimates the time left. A run's title begins with its recipe and a colon.

    A run is expected to take as long as the runs of its recipe made in this session did on average;
    while there are none, as long as those of an earlier verification; else as long as all made so
    far.
    """

    clock: Callable[[], float]
    running: dict[str, float] = field(default_factory=dict)
    _recipes: dict[str, _RecipeRuns] = field(default_factory=dict)
    _most: int = 1

    def expect(self, recipe: str, runs: int, seconds: float | None) -> None:
        """Count more runs of a recipe; ``seconds`` is what one took earlier."""
        known = self._recipes.setdefault(recipe, _RecipeRuns())
        known.waiting += runs
        known.usual = seconds if seconds is not None else known.usual

    def started(self, run: str) -> None:
        self.running[run] = self.clock()
        self._of(run).waiting -= 1
        self._most = max(self._most, len(self.running))

    def ended(self, run: str, is_made: bool) -> None:
        """A run ended, was found in the cache, or is no longer needed."""
        recipe, since = self._of(run), self.running.pop(run, None)
        if since is None:
            recipe.waiting -= 1
        elif is_made:
            recipe.made += 1
            recipe.seconds += self.clock() - since

    def under_way(self) -> list[tuple[str, float]]:
        """Return the runs under way, the oldest first, and how long each has taken."""
        now = self.clock()
        return sorted(((r, now - s) for r, s in self.running.items()), key=lambda one: -one[1])

    def seconds(self) -> float | None:
        """Return roughly how long all runs left take; None without anything to go by."""
        left = 0.0
        for name, recipe in self._recipes.items():
            mine = [s for run, s in self.under_way() if _recipe_of(run) == name]
            if recipe.waiting <= 0 and not mine:
                continue
            usual = self._usual(recipe)
            if usual is None:
                return None
            left += max(recipe.waiting, 0) * usual + sum(max(usual - s, 0.0) for s in mine)
        return left / self._most

    def _of(self, run: str) -> _RecipeRuns:
        return self._recipes.setdefault(_recipe_of(run), _RecipeRuns())

    def _usual(self, recipe: _RecipeRuns) -> float | None:
        if recipe.made:
            return recipe.seconds / recipe.made
        if recipe.usual is not None:
            return recipe.usual
        made = sum(one.made for one in self._recipes.values())
        return sum(one.seconds for one in self._recipes.values()) / made if made else None


def _recipe_of(run: str) -> str:
    return run.partition(":")[0]
