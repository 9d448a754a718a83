"""A cache of traces and verdicts that many machines share: read through, written behind.

``PORTER_REMOTE_CACHE`` is the URL of its folder. In it::

    porter-1/traces/<kk>/<key>.json      the hash and size of the trace with that key
    porter-1/verdicts/<kk>/<key>.json    likewise of a recipe's verdicts
    porter-1/objects/<hh>/<sha256>       the bytes themselves (porter.verify.cache.packing)

An object is written before the entry that names it. A reader hashes what arrives and examines it;
damage counts as absence, and the next machine that makes the run writes it anew. What arrives is
put into the local cache, and used from there.

A shared cache that fails costs time, never a verdict: the first failure is said in one line, and
the run goes on without it.
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from porter.errors import BadInput
from porter.scratch import make_owned
from porter.verify.cache.remote_folder import URL, RemoteFailed, RemoteFolder
from porter.verify.cache.store import (
    CacheWriteError,
    Places,
    keep_trace,
    verdicts_file,
    write_cache,
)
from porter.verify.harness.run_info import RunFacts
from porter.verify.harness.sums import sum_of

if TYPE_CHECKING:
    from porter.verify.cache.packing import Kind, PackedTrace
    from porter.verify.judge.result import RecipeResult

MODE = "PORTER_REMOTE_CACHE_MODE"
READ_WRITE = "read-write"
MODES = (READ_WRITE, "read")
TOP = "porter-1"
OBJECTS = f"{TOP}/objects"
MOST_BYTES = 2**30
"""Nothing larger is shared: an object is held in memory while it is hashed."""
ENTRY_BYTES = 4096
_SHA256 = re.compile(r"[0-9a-f]{64}")

Say = Callable[[str], None]
T = TypeVar("T")


class EntryFile(msgspec.Struct, forbid_unknown_fields=True):
    """The content of an entry: which object has the bytes of a key."""

    format: int
    key: str
    sha256: str
    size: int


@dataclass
class SharedCache:
    """The shared cache of one command. Thread-safe; ``say`` may be called on any thread."""

    folder: RemoteFolder
    say: Say
    is_writable: bool = True
    failure: str = ""
    """Why it is no longer used; "" while it is."""
    _harmed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _waiting: queue.Queue[Callable[[], None] | None] = field(default_factory=queue.Queue)
    _writer: threading.Thread | None = None

    def bring_trace(self, places: Places, facts: RunFacts, key: str) -> Path | None:
        """Bring a run's trace into the local cache; return its folder, None without one."""
        from porter.verify.cache.packing import unpack_trace

        def take(data: bytes) -> PackedTrace:
            return unpack_trace(data, key).of(facts)

        if (trace := self._fetched("traces", key, take)) is None:
            return None
        return place_trace(places, trace)

    def bring_verdicts(
        self, places: Places, port: str, recipe: str, key: str
    ) -> RecipeResult | None:
        """Bring a recipe's verdicts into the local cache; return them, None without any."""
        from porter.verify.cache.packing import Refused, unpack_verdicts

        def take(data: bytes) -> tuple[RecipeResult, bytes]:
            result, file = unpack_verdicts(data, key)
            if (result.port, result.recipe) != (port, recipe):
                raise Refused(f"verdicts on {result.port}/{result.recipe}")
            return result, file

        if (found := self._fetched("verdicts", key, take)) is None:
            return None
        try:
            write_cache(verdicts_file(places, port, recipe, key), found[1].decode())
        except CacheWriteError:
            pass
        return found[0]

    def offer_trace(self, folder: Path) -> None:
        """Write a trace behind: soon, on another thread."""
        from porter.verify.cache.packing import pack_trace

        self._later(lambda: self.put("traces", folder.name, pack_trace(folder)))

    def offer_verdicts(self, path: Path) -> None:
        """Write a file of verdicts behind."""
        from porter.verify.cache.packing import pack_verdicts

        self._later(lambda: self.put("verdicts", path.stem, pack_verdicts(path)))

    def put(self, kind: Kind, key: str, data: bytes) -> None:
        """Write an object, then its entry. Raises RemoteFailed."""
        if len(data) > MOST_BYTES:
            return
        entry = EntryFile(1, key, sum_of(data), len(data))
        self.folder.write(object_path(entry.sha256), data)
        self.folder.write(entry_path(kind, key), msgspec.json.encode(entry))

    def get(self, kind: Kind, key: str) -> bytes | None:
        """Return the bytes of a key, hashed; None without. Raises RemoteFailed, and Refused."""
        from porter.verify.cache.packing import Refused

        if (text := self.folder.read(entry_path(kind, key), ENTRY_BYTES)) is None:
            return None
        entry = read_entry(text)
        if entry is None or entry.key != key:
            raise Refused("its entry is not as it was written")
        data = self.folder.read(object_path(entry.sha256), entry.size + 1)
        if data is None:
            raise Refused("its object is gone")
        if len(data) != entry.size or sum_of(data) != entry.sha256:
            raise Refused(f"expected {entry.size} bytes with the hash of its name, found others")
        return data

    def _fetched(self, kind: Kind, key: str, take: Callable[[bytes], T]) -> T | None:
        """Return what ``take`` makes of the bytes of a key; None where there is nothing sound."""
        from porter.verify.cache.packing import Refused

        if self.failure:
            return None
        try:
            data = self.get(kind, key)
            return None if data is None else take(data)
        except RemoteFailed as failed:
            self.give_up(str(failed))
        except Refused as why:
            self.warn(f"{kind} {key}: {why}")
        return None

    def give_up(self, why: str) -> None:
        """Use the shared cache no longer, and say so once."""
        with self._lock:
            if self.failure:
                return
            self.failure = why
        self.say(
            f"the shared cache {self.folder} cannot be used ({why}): going on without it; "
            "`porter cache push` shares later what is made now"
        )

    def warn(self, what: str) -> None:
        """Say once that something in the shared cache is not sound."""
        with self._lock:
            if self._harmed:
                return
            self._harmed = True
        self.say(f"the shared cache {self.folder} holds something unsound, not used ({what})")

    def _later(self, work: Callable[[], None]) -> None:
        if self.failure or not self.is_writable:
            return
        with self._lock:
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_behind, daemon=True)
                self._writer.start()
        self._waiting.put(work)

    def _write_behind(self) -> None:
        from porter.verify.cache.packing import Refused

        while (work := self._waiting.get()) is not None:
            if self.failure:
                continue
            try:
                work()
            except RemoteFailed as failed:
                self.give_up(str(failed))
            except OSError:
                pass  # deleted from the local cache meanwhile
            except Refused as why:
                self.warn(f"from here: {why}")

    def close(self) -> None:
        """Wait until everything offered is written."""
        if self._writer is not None:
            self._waiting.put(None)
            self._writer.join()
            self._writer = None


@contextmanager
def open_shared(say: Say) -> Iterator[SharedCache | None]:
    """Give the shared cache that the environment names; None where it names none.

    At the end of the block what was offered is written; after an exception it is dropped. Raises
    BadInput for a variable that says something else.
    """
    shared = shared_cache(say)
    yield shared
    if shared is not None:
        shared.close()


def shared_cache(say: Say) -> SharedCache | None:
    """Return the shared cache that the environment names, not opened yet. Raises BadInput."""
    url = os.environ.get(URL, "")
    mode = os.environ.get(MODE) or READ_WRITE
    if mode not in MODES:
        raise BadInput(f"{MODE}: expected {' or '.join(MODES)}, found {mode!r}")
    return SharedCache(RemoteFolder(url), say, mode == READ_WRITE) if url else None


def place_trace(places: Places, trace: PackedTrace) -> Path | None:
    """Put a trace into the local cache; None where it cannot be written."""
    try:
        folder = make_owned(places.runs)
    except OSError:
        return None
    try:
        trace.write(folder / "out")
        return keep_trace(places, trace.facts, trace.key, folder / "out")
    except (OSError, CacheWriteError):
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_entry(data: bytes) -> EntryFile | None:
    """Return the entry in some bytes; None when they are none."""
    try:
        entry = msgspec.json.decode(data, type=EntryFile)
    except (ValueError, RecursionError):
        return None
    sound = entry.format == 1 and _SHA256.fullmatch(entry.sha256) and 0 < entry.size <= MOST_BYTES
    return entry if sound else None


def entry_path(kind: Kind, key: str) -> str:
    """Return the path of a key's entry."""
    return f"{TOP}/{kind}/{key[:2]}/{key}.json"


def object_path(sha256: str) -> str:
    """Return the path of an object."""
    return f"{OBJECTS}/{sha256[:2]}/{sha256}"
