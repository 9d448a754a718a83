"""``porter lock``: build a port's levels from the upstream's contents and write their ids."""

from __future__ import annotations

from pathlib import Path

from porter.errors import BadInput, CheckFailed, SourceUnavailable
from porter.git.quoting import show_path
from porter.levels.check import submodule_problems
from porter.levels.levels import ApplyFailed, Level, build_series
from porter.levels.lock import Lock, lock_of, lock_path, read_lock, write_lock
from porter.series.series import load_series
from porter.upstream.pins import Pin, Pins
from porter.upstream.store import open_upstream


def lock_port(root: Path, pins: Pins, pin: Pin) -> str:
    """Write the lock of ``pin`` and return a line that says what changed.

    Raises ApplyFailed, CheckFailed for a submodule that differs from its pin, and SourceUnavailable
    when no source covers a touched file: a lock holds only ids computed from contents.
    """
    series = load_series(root, pin.name)
    upstream = open_upstream(root, pin)
    try:
        built = build_series(upstream, series, recall=False)
        problems = submodule_problems(pins, pin, built.top)
    finally:
        upstream.close()
    if built.failures:
        raise ApplyFailed(pin.name, built.failures)
    if problems:
        raise CheckFailed(f"{pin.name}: {problems[0]}; correct upstream_pins.yaml")
    _refuse_claimed(pin, built.levels)
    lock = lock_of(pins, pin, upstream.commit, built.levels)
    before = _former(root, pin.name)
    changed = write_lock(root, lock)
    return f"{lock_path(root, pin.name)}: {_summary(before, lock) if changed else 'unchanged'}"


def _refuse_claimed(pin: Pin, levels: tuple[Level, ...]) -> None:
    paths = sorted({show_path(path) for level in levels for path in level.claimed})
    if paths:
        raise SourceUnavailable(
            f"{pin.name}: no source covers {paths[0]}"
            + (f" and {len(paths) - 1} more files" if len(paths) > 1 else "")
            + " that the series touches; a lock needs their contents, fetch the upstream with git"
        )


def _former(root: Path, port: str) -> Lock | None:
    try:
        return read_lock(root, port)
    except BadInput:
        return None  # broken, about to be replaced


def _summary(before: Lock | None, after: Lock) -> str:
    levels = f"{len(after.levels)} level" + ("s" if len(after.levels) != 1 else "")
    if before is None:
        return f"{levels} locked"
    rows = {row.name: row for row in before.levels}
    new = [row.name for row in after.levels if row.name not in rows]
    changed = [row.name for row in after.levels if row.name in rows and rows[row.name] != row]
    gone = [name for name in rows if name not in {row.name for row in after.levels}]
    parts = [
        f"{word} {', '.join(names)}"
        for word, names in (("new:", new), ("changed:", changed), ("gone:", gone))
        if names
    ]
    return f"{levels} locked; {'; '.join(parts) or 'pins changed'}"
