"""Read and write ``levels.lock``: the ids that every level of a port must have on every machine.

It is JSON with one fact per line, in series order and with sorted paths. So a changed patch shows
in review as the levels and files it touches, and locking an unchanged series changes no byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.atomic import write_atomic
from porter.errors import BadInput
from porter.git.objects import Oid
from porter.git.quoting import show_path
from porter.places import patches_dir

if TYPE_CHECKING:
    from porter.levels.levels import Level
    from porter.upstream.pins import Pin, Pins

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


def format_lock(lock: Lock) -> str:
    """Return the text of the file."""
    data: dict[str, Any] = {
        "version": LOCK_VERSION,
        "port": lock.port,
        "upstream": dict(lock.upstream),
    }
    if lock.submodules:
        data["submodules"] = {path: dict(pin) for path, pin in lock.submodules.items()}
    if lock.companions:
        data["companions"] = {name: dict(pin) for name, pin in lock.companions.items()}
    data["levels"] = [
        {
            "name": level.name,
            "patch": level.patch,
            "sha256": level.sha256,
            "tree": level.tree,
            "commit": level.commit,
            "files": dict(level.files),
        }
        for level in lock.levels
    ]
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


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
        data = json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 0)
        hint = "unresolved merge conflict" if "<<<<<<<" in text else str(error)
        raise BadInput(
            f"{path}:{line}: expected JSON ({hint}); `porter lock {port}` rewrites it"
        ) from None
    try:
        return _lock(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path}: expected version {LOCK_VERSION} with port, upstream and levels, found no "
            f"{error}; `porter lock {port}` rewrites it"
        ) from None


def _lock(data: Any) -> Lock:
    if data["version"] != LOCK_VERSION:
        raise KeyError(f"version {LOCK_VERSION}")
    levels = tuple(
        LockedLevel(
            row["name"], row["patch"], row["sha256"], row["tree"], row["commit"], dict(row["files"])
        )
        for row in data["levels"]
    )
    return Lock(
        data["port"],
        dict(data["upstream"]),
        {path: dict(pin) for path, pin in data.get("submodules", {}).items()},
        {name: dict(pin) for name, pin in data.get("companions", {}).items()},
        levels,
    )


def write_lock(root: Path, lock: Lock) -> bool:
    """Write a port's lock atomically; return whether a byte changed."""
    path = lock_path(root, lock.port)
    text = format_lock(lock).encode()
    try:
        if path.read_bytes() == text:
            return False
    except FileNotFoundError:
        pass
    write_atomic(path, text, sync=True)
    return True
