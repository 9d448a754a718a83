"""What is in the local and in the shared cache; exchange it whole, and delete what is old."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from porter.errors import BadInput, CheckFailed
from porter.verify.cache.packing import (
    KINDS,
    Kind,
    PackedTrace,
    Refused,
    pack_trace,
    pack_verdicts,
    unpack_trace,
    unpack_verdicts,
)
from porter.verify.cache.record import NAME
from porter.verify.cache.remote_folder import URL, RemoteFailed, RemoteFile
from porter.verify.cache.shared import (
    ENTRY_BYTES,
    MODE,
    OBJECTS,
    TOP,
    SharedCache,
    entry_path,
    place_trace,
    read_entry,
    shared_cache,
)
from porter.verify.cache.store import (
    CacheWriteError,
    Places,
    trace_folder,
    verdicts_file,
    write_cache,
)
from porter.verify.harness.run_info import HEAD

A = TypeVar("A")
B = TypeVar("B")

AT_ONCE = 8
HOUR = 3600.0
"""An object without an entry is kept so long: its writer may be about to write the entry."""


@dataclass(frozen=True)
class Held:
    """How many things of one kind a cache holds, and their bytes."""

    what: str
    count: int
    size: int


@dataclass(frozen=True)
class Sent:
    """What :func:`push` or :func:`pull` did, by kind; ``unsound`` says what was refused and why."""

    moved: dict[Kind, int]
    present: dict[Kind, int]
    unsound: tuple[str, ...] = ()


def named_cache(*, writing: bool) -> SharedCache:
    """Return the shared cache that the environment names. Raises BadInput without one.

    Also when it is there to be read only and ``writing`` is what is wanted.
    """
    found = shared_cache(lambda _: None)
    if found is None:
        raise BadInput(f"{URL}: expected the URL of a shared cache, found nothing; docs/cache.md")
    if writing and not found.is_writable:
        raise BadInput(f"{MODE}: expected read-write for this command, found read")
    return found


def local_things(places: Places, ports: Collection[str]) -> Iterator[tuple[Kind, Path]]:
    """Yield the folder of each trace and the file of each recipe's verdicts; no ports mean all."""
    for head in sorted(places.traces.glob(f"*/*/*/{HEAD}")):
        if not ports or head.parents[2].name in ports:
            yield "traces", head.parent
    for path in sorted(places.verdicts.glob("*/*/*.json")):
        if not path.name.startswith(".") and (not ports or path.parents[1].name in ports):
            yield "verdicts", path


def local_stats(places: Places, ports: Collection[str]) -> list[Held]:
    """Return what the local cache holds of what can be shared."""
    sizes: dict[Kind, list[int]] = {kind: [] for kind in KINDS}
    for kind, path in local_things(places, ports):
        files = [path] if kind == "verdicts" else [p for p in path.iterdir() if p.is_file()]
        sizes[kind].append(sum(file.stat().st_size for file in files))
    return [Held(kind, len(found), sum(found)) for kind, found in sizes.items()]


def shared_stats(shared: SharedCache) -> list[Held]:
    """Return what the shared cache holds: entries of each kind, and objects. Raises CheckFailed."""
    with _checked(shared):
        held = [(kind, shared.folder.files(f"{TOP}/{kind}")) for kind in KINDS]
        objects = shared.folder.files(OBJECTS)
    return [
        *(Held(kind, len(_keys(files)), sum(file.size for file in files)) for kind, files in held),
        Held("objects", len(objects), sum(file.size for file in objects)),
    ]


@dataclass(frozen=True)
class Stats:
    """What the local cache holds, and the shared one; ``url`` is "" where none is named."""

    here: list[Held]
    url: str = ""
    is_writable: bool = False
    there: tuple[Held, ...] = ()


def stats(places: Places, ports: Collection[str]) -> Stats:
    """Count both caches. Raises CheckFailed."""
    here, shared = local_stats(places, ports), shared_cache(lambda _: None)
    if shared is None:
        return Stats(here)
    return Stats(here, str(shared.folder), shared.is_writable, tuple(shared_stats(shared)))


def push(shared: SharedCache, places: Places, ports: Collection[str]) -> Sent:
    """Write what the local cache has and the shared one lacks. Raises CheckFailed."""
    moved, present = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    with _checked(shared):
        known = {kind: _keys(shared.folder.files(f"{TOP}/{kind}")) for kind in KINDS}

        def send(thing: tuple[Kind, Path]) -> tuple[Kind, str | None]:
            kind, path = thing
            key = path.name if kind == "traces" else path.stem
            if key in known[kind]:
                return kind, None
            known[kind].add(key)  # recipes share runs
            try:
                data = pack_trace(path) if kind == "traces" else pack_verdicts(path)
            except (Refused, OSError) as why:
                return kind, f"{path}: {why}"
            shared.put(kind, key, data)
            return kind, ""

        done = _at_once(send, list(local_things(places, ports)))
    for kind, why in done:
        moved[kind] += why == ""
        present[kind] += why is None
    return Sent(moved, present, tuple(why for _, why in done if why))


def pull(shared: SharedCache, places: Places, ports: Collection[str]) -> Sent:
    """Bring what the shared cache has and the local one lacks. Raises CheckFailed."""
    moved, present = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    here = {
        kind: {path.name if kind == "traces" else path.stem for k, path in found if k == kind}
        for found in [list(local_things(places, ()))]
        for kind in KINDS
    }
    with _checked(shared):
        wanted: list[tuple[Kind, str]] = []
        for kind in KINDS:
            there = _keys(shared.folder.files(f"{TOP}/{kind}"))
            present[kind] = len(there & here[kind])
            wanted += [(kind, key) for key in sorted(there - here[kind])]

        def bring(thing: tuple[Kind, str]) -> tuple[Kind, str | None]:
            kind, key = thing
            try:
                data = shared.get(kind, key)
                return kind, None if data is None else _take(kind, key, data, places, ports)
            except (Refused, CacheWriteError) as why:
                return kind, f"{kind} {key}: {why}"

        done = _at_once(bring, wanted)
    for kind, why in done:
        moved[kind] += why == ""
    return Sent(moved, present, tuple(why for _, why in done if why))


def _take(kind: Kind, key: str, data: bytes, places: Places, ports: Collection[str]) -> str | None:
    """Put what came into the local cache; None when it is of another port than those asked for.

    Raises Refused, and CacheWriteError.
    """
    trace: PackedTrace | None = None
    if kind == "traces":
        trace = unpack_trace(data, key)
        port, recipe = trace.facts.port, trace.facts.recipe
    else:
        result, file = unpack_verdicts(data, key)
        port, recipe = result.port, result.recipe
    for name in (port, recipe):
        if not NAME.fullmatch(name):
            raise Refused(f"expected the name of a port or a recipe, found {name!r}")
    if ports and port not in ports:
        return None
    if trace is None:
        write_cache(verdicts_file(places, port, recipe, key), file.decode())
    elif place_trace(places, trace) is None:
        raise CacheWriteError(f"{trace_folder(places, trace.facts, key)} cannot be written")
    return ""


def prune(shared: SharedCache, days: float, *, dry_run: bool) -> list[Held]:
    """Delete entries written more than some days ago, and objects that no entry names.

    An object younger than an hour stays. Raises CheckFailed.
    """
    now, folder = time.time(), shared.folder
    gone: list[tuple[str, list[RemoteFile]]] = []
    with _checked(shared):
        objects = {file.path.rpartition("/")[2]: file for file in folder.files(OBJECTS)}
        kept: list[str] = []
        for kind in KINDS:
            files = folder.files(f"{TOP}/{kind}")
            old = [file for file in files if now - file.written > days * 24 * HOUR]
            gone.append((kind, old))
            kept += [file.path for file in set(files) - set(old)]
        texts = _at_once(lambda path: folder.read(path, ENTRY_BYTES), kept)
        named = {e.sha256 for text in texts if text and (e := read_entry(text)) is not None}
        orphans = [f for name, f in objects.items() if name not in named]
        gone.append(("objects", [f for f in orphans if now - f.written > HOUR]))
        for _, files in gone if not dry_run else ():  # entries first: none names what is gone
            folder.delete(file.path for file in files)
    return [Held(what, len(files), sum(file.size for file in files)) for what, files in gone]


def _keys(files: list[RemoteFile]) -> set[str]:
    """Return the keys of entries; what has another name, such as a half-written file, is none."""
    keys = {file.path.rpartition("/")[2].removesuffix(".json") for file in files}
    paths = {file.path for file in files}
    return {k for k in keys if k.isalnum() and any(entry_path(kind, k) in paths for kind in KINDS)}


def _at_once(work: Callable[[A], B], things: Collection[A]) -> list[B]:
    """Return what a function gives for each thing; several are worked on at once."""
    with ThreadPoolExecutor(AT_ONCE, "shared-cache") as pool:
        return list(pool.map(work, things))


@contextmanager
def _checked(shared: SharedCache) -> Iterator[None]:
    """Turn RemoteFailed into the error of a command that asked for the shared cache."""
    try:
        yield
    except RemoteFailed as error:
        raise CheckFailed(f"{shared.folder}: {error}") from error
