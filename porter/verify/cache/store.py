"""On-disk cache of traces and verdicts, with per-run locks.

    traces/<port>/<recipe>/<key>/        a finished run
    verdicts/<port>/<recipe>/<key>.json  a recipe's result; valid while its traces exist
    runs/<key>.lock                      held by the porter process that makes that run

Everything is published by a rename. What cannot be written (full disk, read-only cache) is reported
and costs the next verification time, not this one its verdict. Free of torch.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from porter.atomic import parse_json, read_json, write_atomic
from porter.verify.cache.stored_trace import read_head
from porter.verify.harness.run_info import HEAD, TENSORS, RunFacts
from porter.verify.harness.sums import SUMS, sum_of
from porter.verify.judge.result import RecipeResult, result_from_json, result_to_json

_VERDICTS_FORMAT = 3
_LAST_FEW = 5


@dataclass(frozen=True)
class Places:
    """Folders of the cache that verification writes to."""

    environments: Path
    traces: Path
    runs: Path

    @property
    def verdicts(self) -> Path:
        """The folder of verdicts, beside that of traces."""
        return self.traces.with_name("verdicts")

    @staticmethod
    def under(cache_folder: Path) -> Places:
        """Return the folders of a cache."""
        return Places(cache_folder / "environments", cache_folder / "traces", cache_folder / "runs")


class CacheWriteError(Exception):
    """The cache could not be written; the text says why."""


def find_trace(places: Places, facts: RunFacts, key: str) -> Path | None:
    """Return the trace of a run that this recipe or another of the port made; None without one.

    Its header and size are checked.
    """
    own = trace_folder(places, facts, key)
    if not own.is_dir():
        others = (places.traces / facts.port).glob(f"*/{key}")
        own = next(iter(sorted(others)), own)
    if not is_whole(own):
        return None
    touch(own)
    return own


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a trace, by its header and size."""
    try:
        read_head(folder)
        return _fills(folder / TENSORS) and (folder / SUMS).is_file()
    except (OSError, ValueError):
        return False


def sandbox_of(folder: Path) -> str:
    """Return the kind of sandbox that a trace was made in."""
    return str(read_json(folder / HEAD).get("sandbox", ""))


def share_trace(places: Places, facts: RunFacts, key: str, folder: Path) -> None:
    """Hard-link a trace into this recipe's folder, with this run's key and facts: another recipe's,
    or that of a run on other trees that read nothing else.

    Where that fails, the run is made again when this recipe is verified alone.
    """
    place = trace_folder(places, facts, key)
    if place.exists():
        return
    fresh = places.runs / f"{key}.{os.getpid()}.new"
    with suppress(OSError):
        fresh.mkdir(parents=True)
        try:
            for file in folder.iterdir():
                if file.name not in (HEAD, SUMS):
                    (fresh / file.name).hardlink_to(file)
            head, sums = read_json(folder / HEAD), read_json(folder / SUMS)
            head["facts"] = dataclasses.asdict(facts)
            text = (json.dumps(head, indent=1, sort_keys=True) + "\n").encode()
            (fresh / HEAD).write_bytes(text)
            (fresh / SUMS).write_text(json.dumps(sums | {HEAD: sum_of(text)}), encoding="utf-8")
            place.parent.mkdir(parents=True, exist_ok=True)
            fresh.replace(place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def has_trace(places: Places, facts: RunFacts, key: str) -> bool:
    """Whether a run's trace exists; its content is not checked."""
    # As text: an unchanged verification asks this of every run, and joining paths costs most of it.
    folder = f"{places.traces}/{facts.port}/{facts.recipe}/{key}"
    touch(folder)
    return Path(f"{folder}/{HEAD}").is_file()


def usual_seconds(places: Places, port: str, recipe: str) -> float | None:
    """Return the mean duration in seconds of the recipe's last few runs; None without any."""
    heads = [*(places.traces / port / recipe).glob(f"*/{HEAD}")]
    found = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        heads.sort(key=lambda head: head.stat().st_mtime, reverse=True)
        for head in heads[:_LAST_FEW]:
            found.append(float(read_json(head)["seconds"]))
    return sum(found) / len(found) if found else None


def keep_trace(places: Places, facts: RunFacts, key: str, out: Path) -> Path:
    """Move a finished trace into the cache, replacing an older one; return its folder.

    Raises CacheWriteError, and leaves the trace where it is.
    """
    place = trace_folder(places, facts, key)
    aside = out.with_name("replaced")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            place.replace(aside)
        out.replace(place)
    except OSError as error:
        raise CacheWriteError(f"{place}: {error.strerror}") from error
    return place


def find_verdicts(places: Places, port: str, recipe: str, key: str) -> RecipeResult | None:
    """Return the cached result of a recipe, if the same runs were judged before."""
    path = verdicts_file(places, port, recipe, key)
    try:
        result = read_verdicts(path)
    except (OSError, ValueError):
        return None
    touch(path)
    return result


def read_verdicts(path: Path) -> RecipeResult:
    """Return the result that a file of verdicts holds.

    Raises OSError, and ValueError for one of another format or not as it was written.
    """
    return verdicts_in(path.read_bytes(), path.stem)


def verdicts_in(data: bytes, key: str) -> RecipeResult:
    """Return the result in the bytes of a file of verdicts, named ``key``. Raises ValueError."""
    try:
        kept = msgspec.json.decode(data)
        if kept["format"] != _VERDICTS_FORMAT:
            raise ValueError(f"format {kept['format']}, expected {_VERDICTS_FORMAT}")
        if kept["sha256"] != _checksum(key, kept["result"]):
            raise ValueError("not as it was written")
        return result_from_json(kept["result"])
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no verdicts: {error!r}") from error


def _checksum(key: str, result: Any) -> str:
    return sum_of(key.encode() + msgspec.json.encode(result))


def keep_verdicts(places: Places, result: RecipeResult, key: str) -> Path:
    """Cache a recipe's result; return its file. Raises CacheWriteError."""
    path = verdicts_file(places, result.port, result.recipe, key)
    row = result_to_json(result)
    kept = {"format": _VERDICTS_FORMAT, "sha256": _checksum(key, row), "result": row}
    write_cache(path, msgspec.json.encode(kept).decode())
    return path


def write_cache(path: Path, text: str) -> None:
    """Write a file of the cache atomically. Raises CacheWriteError."""
    try:
        write_atomic(path, text.encode())
    except OSError as error:
        raise CacheWriteError(f"{path}: {error.strerror}") from error


@contextmanager
def making(places: Places, key: str) -> Iterator[bool]:
    """Hold the lock of a run while it is made; yield False when another process holds it.

    The lock file is deleted at the end. Where no lock can be taken (a file system without locks, a
    read-only cache) this gives True: then work may be done twice.
    """
    from filelock import FileLock, Timeout

    path = places.runs / f"{key}.lock"
    lock = FileLock(path, timeout=0, thread_local=False)
    mine = True
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        mine = False
    except (OSError, NotImplementedError):  # filelock before 4 says the latter of a missing flock
        pass
    try:
        yield mine
    finally:
        if lock.is_locked:
            path.unlink(missing_ok=True)
            lock.release()


def touch(path: Path | str) -> None:
    """Update the modification time, by which `porter gc` decides what is in use."""
    with suppress(OSError):
        os.utime(path)


def trace_folder(places: Places, facts: RunFacts, key: str) -> Path:
    """Return the folder of a run's trace, which may not exist."""
    return places.traces / facts.port / facts.recipe / key


def verdicts_file(places: Places, port: str, recipe: str, key: str) -> Path:
    """Return the file of a recipe's verdicts, which may not exist."""
    return places.verdicts / port / recipe / f"{key}.json"


def tensors_header(data: bytes) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file and where its tensors begin; raises ValueError."""
    length = int.from_bytes(data[:8], "little")
    header = msgspec.json.decode(data[8 : 8 + length], type=dict[str, Any])
    return header, 8 + length


def _fills(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says.

    Raises OSError, and ValueError for a header that is none.
    """
    found = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > found:
            return False
        header = parse_json(file.read(length))
    try:
        ends = [row["data_offsets"][1] for key, row in header.items() if key != "__metadata__"]
        return bool(8 + length + max(ends, default=0) == found)
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path}: no header: {error!r}") from None
