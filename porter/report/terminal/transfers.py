"""A progress bar for transfers, only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from porter.upstream.gitfetch import Progress


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
