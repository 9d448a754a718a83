"""``porter lock``: the ids that every level of a port must have on every machine.

``levels.lock`` is JSON with one fact per line, in series order and with sorted paths. So a changed
patch shows in review as the levels and files it touches, and locking an unchanged series changes no
byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from porter.atomic import parse_json, write_atomic
from porter.errors import BadInput, CheckFailed, SourceUnavailable
from porter.git.objects import MODE_SUBMODULE, Entry, Oid
from porter.git.quoting import show_path
from porter.levels.levels import ApplyFailed, Level, build_series
from porter.places import patches_dir
from porter.series.series import load_series
from porter.terminal import counted
from porter.upstream.pins import Pin, Pins
from porter.upstream.store import open_upstream

if TYPE_CHECKING:
    from porter.git.treeedit import TreeEdit

LOCK_FILE = "levels.lock"
LOCK_VERSION = 1


@dataclass(frozen=True, slots=True)
class LockedLevel:
    """One locked level; the paths in ``files`` are git-quoted where they need it."""

    name: str
    patch: str
    sha256: str
    tree: str
    commit: str
    files: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Lock:
    """A port's lock: its upstream, its levels, and the pins of submodules and companions."""

    port: str
    upstream: Mapping[str, str]
    submodules: Mapping[str, Mapping[str, str]]
    companions: Mapping[str, Mapping[str, str]]
    levels: tuple[LockedLevel, ...]


def lock_path(root: Path, port: str) -> Path:
    return patches_dir(root, port) / LOCK_FILE


def lock_of(pins: Pins, pin: Pin, commit: Oid, levels: Sequence[Level]) -> Lock:
    """Return the lock of freshly built levels (level 0 first)."""
    locked = []
    for level in levels[1:]:
        assert level.patch is not None
        files = {show_path(path): blob for path, blob in sorted(level.files.items())}
        locked.append(
            LockedLevel(
                level.name, level.patch.name, level.patch.sha256, level.tree, level.commit, files
            )
        )
    return Lock(
        port=pin.name,
        upstream={"commit": commit, "tree": pin.tree},
        submodules={path: _exact(pins, name) for path, name in sorted(pin.submodules.items())},
        companions={name: _exact(pins, name) for name in sorted(pin.companions)},
        levels=tuple(locked),
    )


def _exact(pins: Pins, name: str) -> dict[str, str]:
    pin = pins.pins[name]
    return {"pin": name} | ({"commit": pin.commit} if pin.commit else {}) | {"tree": pin.tree}


def read_lock(root: Path, port: str) -> Lock | None:
    """Read a port's lock, or return None when there is none. Raises BadInput for a broken one."""
    path = lock_path(root, port)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: expected UTF-8; `porter lock {port}` rewrites it") from None
    try:
        data = parse_json(text)
        if "\\ud" in text.lower():  # half of a character, unless both are there
            json.dumps(data, ensure_ascii=False).encode()
    except ValueError as error:
        line = getattr(error, "lineno", 0)
        hint = "unresolved merge conflict" if "<<<<<<<" in text else str(error)
        raise BadInput(
            f"{path}:{line}: expected JSON ({hint}); `porter lock {port}` rewrites it"
        ) from None
    try:
        if data["version"] != LOCK_VERSION:
            raise KeyError(f"version {data['version']}")
        return msgspec.convert({"submodules": {}, "companions": {}} | data, Lock)
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise BadInput(
            f"{path}: expected version {LOCK_VERSION} with port, upstream and levels ({error}); "
            f"`porter lock {port}` rewrites it"
        ) from None


def lock_bytes(lock: Lock) -> bytes:
    """Return a lock as the bytes of its file."""
    data = {"version": LOCK_VERSION, **asdict(lock)}
    if not lock.submodules:
        del data["submodules"]
    if not lock.companions:
        del data["companions"]
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def write_lock(root: Path, lock: Lock) -> bool:
    """Write a port's lock atomically; return whether a byte changed."""
    path, content = lock_path(root, lock.port), lock_bytes(lock)
    try:
        if path.read_bytes() == content:
            return False
    except FileNotFoundError:
        pass
    write_atomic(path, content, sync=True)
    return True


def submodule_problems(
    pins: Pins, pin: Pin, listing: Mapping[bytes, Entry], tree: TreeEdit | None
) -> list[str]:
    """Return the submodules that upstream (``listing``) lacks, or whose commit their pin does not
    name, there or in the last level's ``tree``. A level may remove a submodule."""
    problems = []
    for path, name in pin.submodules.items():
        first, last = listing.get(path.encode()), tree.get(path.encode()) if tree else None
        if first is None or first.mode != MODE_SUBMODULE:
            problems.append(f"submodule {path}: expected a submodule in the tree, found none")
            continue
        entry = last if last is not None and last.mode == MODE_SUBMODULE else first
        if entry.oid != pins.pins[name].commit:
            expected = pins.pins[name].commit
            problems.append(
                f"submodule {path}: the tree names commit {entry.oid}, the pin {name} {expected}"
            )
    return problems


def lock_port(root: Path, pins: Pins, pin: Pin) -> str:
    """Write the lock of ``pin`` and return a line that says what changed.

    Raises ApplyFailed, CheckFailed for a submodule that differs from its pin, and SourceUnavailable
    when no source covers a touched file: a lock holds only ids computed from contents.
    """
    series = load_series(root, pin.name)
    with open_upstream(root, pin) as upstream:
        built = build_series(upstream, series, recall=False)
        problems = submodule_problems(pins, pin, upstream.listing(), built.top)
    if built.failures:
        raise ApplyFailed(pin.name, built.failures)
    if problems:
        raise CheckFailed(f"{pin.name}: {problems[0]}; correct upstream_pins.yaml")
    if claimed := sorted({show_path(path) for level in built.levels for path in level.claimed}):
        more = f" and {len(claimed) - 1} more files" if len(claimed) > 1 else ""
        raise SourceUnavailable(
            f"{pin.name}: no source covers {claimed[0]}{more} that the series touches; a lock "
            "needs their contents, fetch the upstream with git"
        )
    lock = lock_of(pins, pin, upstream.commit, built.levels)
    try:
        before = read_lock(root, pin.name)
    except BadInput:
        before = None  # broken, about to be replaced
    changed = write_lock(root, lock)
    return f"{lock_path(root, pin.name)}: {_summary(before, lock) if changed else 'unchanged'}"


def _summary(before: Lock | None, after: Lock) -> str:
    levels = counted(len(after.levels), "level")
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
