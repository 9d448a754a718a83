"""What earlier verifications left: traces by their key, verdicts by theirs, and who makes one now.

    traces/<port>/<recipe>/<key>/        a finished run
    verdicts/<port>/<recipe>/<key>.json  what a recipe came to; only while its traces stand
    runs/<key>.lock                      held by the porter that makes that run just now

Everything appears whole, by a rename. What cannot be written (a full disk, a read-only cache) is
told and costs the next verification its time, not this one its verdict. None of this needs torch.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from porter.atomic import write_atomic
from porter.verify.harness.run_info import FORMAT, HEAD, TENSORS, RunFacts
from porter.verify.judge.result import RecipeResult, result_from_json, result_to_json

_VERDICTS_FORMAT = 2
_LAST_FEW = 5


@dataclass(frozen=True)
class Places:
    """Folders of the cache that verification writes to."""

    environments: Path
    traces: Path
    runs: Path

    @property
    def verdicts(self) -> Path:
        """Verdicts stand beside the traces that they rest on."""
        return self.traces.with_name("verdicts")

    @staticmethod
    def under(cache_folder: Path) -> Places:
        """Return the usual ones."""
        return Places(cache_folder / "environments", cache_folder / "traces", cache_folder / "runs")


class CacheWriteError(Exception):
    """Something could not be kept; the text says why."""


def find_trace(places: Places, facts: RunFacts, key: str) -> Path | None:
    """Return the folder of a run that was made already, by this recipe or another of the port.

    It is whole as far as its files say.
    """
    own = _trace_folder(places, facts, key)
    if not own.is_dir():
        others = (places.traces / facts.port).glob(f"*/{key}")
        own = next(iter(sorted(others)), own)
    try:
        head = json.loads((own / HEAD).read_text(encoding="utf-8"))
        whole = head["format"] == FORMAT and _is_whole(own / TENSORS)
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
    if not whole:
        return None
    touch(own)
    return own


def share_trace(places: Places, facts: RunFacts, key: str, folder: Path) -> None:
    """Make another recipe's trace this recipe's too: the same files, told by this one's names.

    Where that cannot be, the run is made again when this recipe is verified alone.
    """
    place = _trace_folder(places, facts, key)
    if place.exists():
        return
    fresh = places.runs / f"{key}.{os.getpid()}.new"
    with suppress(OSError):
        fresh.mkdir(parents=True)
        try:
            for file in folder.iterdir():
                if file.name != HEAD:
                    (fresh / file.name).hardlink_to(file)
            head = json.loads((folder / HEAD).read_text(encoding="utf-8"))
            head["facts"] = dataclasses.asdict(facts)
            text = json.dumps(head, indent=1, sort_keys=True) + "\n"
            (fresh / HEAD).write_text(text, encoding="utf-8")
            place.parent.mkdir(parents=True, exist_ok=True)
            fresh.replace(place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def has_trace(places: Places, facts: RunFacts, key: str) -> bool:
    """Whether a run's trace stands there, at a glance."""
    folder = _trace_folder(places, facts, key)
    touch(folder)
    return (folder / HEAD).is_file()


def usual_seconds(places: Places, port: str, recipe: str) -> float | None:
    """Return how long a run of the recipe took the last few times; None when it was never run."""
    heads = [*(places.traces / port / recipe).glob(f"*/{HEAD}")]
    found = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        heads.sort(key=lambda head: head.stat().st_mtime, reverse=True)
        for head in heads[:_LAST_FEW]:
            found.append(float(json.loads(head.read_text(encoding="utf-8"))["seconds"]))
    return sum(found) / len(found) if found else None


def keep_trace(places: Places, facts: RunFacts, key: str, out: Path) -> Path:
    """Move a finished trace to its place; whatever stood there gives way. Return the place.

    Raises NotKept, and leaves the trace where it is.
    """
    place = _trace_folder(places, facts, key)
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
    """Return what the recipe came to when the same runs were judged before."""
    path = _verdicts_file(places, port, recipe, key)
    try:
        kept = msgspec.json.decode(path.read_bytes())
        if kept["format"] != _VERDICTS_FORMAT:
            return None
        result = result_from_json(kept["result"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    touch(path)
    return result


def keep_verdicts(places: Places, result: RecipeResult, key: str) -> None:
    """Keep what a recipe came to. Raises NotKept."""
    path = _verdicts_file(places, result.port, result.recipe, key)
    kept = {"format": _VERDICTS_FORMAT, "result": result_to_json(result)}
    try:
        write_atomic(path, json.dumps(kept).encode())
    except OSError as error:
        raise CacheWriteError(f"{path}: {error.strerror}") from error


@contextmanager
def making(places: Places, key: str) -> Iterator[bool]:
    """Hold the lock of a run while it is made; give False when another porter holds it.

    The file is deleted at the end. Whoever opened it just before locks a file that is no more, and
    so looks again. A file system without locks gives True: then work may be done twice.
    """
    path = places.runs / f"{key}.lock"
    held = _lock(path)
    try:
        yield held is not None
    finally:
        if held:
            path.unlink(missing_ok=True)
            os.close(held)


def _lock(path: Path) -> int | None:
    """Return the locked file (0 where there are no locks), or None when someone else has it."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        except OSError:
            return 0
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        except OSError:
            os.close(file)
            return 0
        with suppress(OSError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)


def touch(path: Path) -> None:
    """Note that it is of use still: a clean-up goes by that."""
    with suppress(OSError):
        os.utime(path)


def forget_trace(folder: Path) -> None:
    """Delete a trace that turned out to be damaged."""
    shutil.rmtree(folder, ignore_errors=True)


def _trace_folder(places: Places, facts: RunFacts, key: str) -> Path:
    return places.traces / facts.port / facts.recipe / key


def _verdicts_file(places: Places, port: str, recipe: str, key: str) -> Path:
    return places.verdicts / port / recipe / f"{key}.json"


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    ends = [entry["data_offsets"][1] for entry in header.values()]
    size: int = 8 + length + max(ends, default=0)
    return path.stat().st_size == size
