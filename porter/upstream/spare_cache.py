"""Stand in for a cache that cannot be written: a full disk, or a folder that one may only read.

The stand-in is a temporary folder that reads from the cache (its repositories are borrowed, its
snapshots, environments, traces and verdicts linked) and takes everything that is written now. So a
verification gives its verdict; what it made is gone afterwards.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from porter.git.odb import lay_out_repository
from porter.places import cache_dir
from porter.scratch import scratch_folder
from porter.upstream.gitfetch import create_repository

LEAST_BYTES = 16 * 2**20
_READ = ("levels", "traces", "verdicts", "probe-names", "mutants")
_EACH = ("trees", "environments")
_WRITTEN = ("", "store", "runs", "staging", "trees")


@contextmanager
def usable_cache() -> Iterator[None]:
    """Give a block a cache that can be written; say on stderr when that is not the cache itself.

    Raises OSError naming the folder when the temporary folder cannot be written either.
    """
    cache = cache_dir()
    if not (why := cache_fault(cache)):
        yield
        return
    with scratch_folder("cache", LEAST_BYTES) as spare:
        print(f"porter: {why}; going on without it, in {spare}: nothing is kept", file=sys.stderr)
        _borrow(cache, spare)
        before = os.environ.get("PORTER_CACHE")
        os.environ["PORTER_CACHE"] = str(spare)
        try:
            yield
        finally:
            if before is None:
                del os.environ["PORTER_CACHE"]
            else:
                os.environ["PORTER_CACHE"] = before


def cache_fault(cache: Path) -> str:
    """Return why nothing can be written to a cache, naming the folder; "" when it can."""
    for name in _WRITTEN:
        folder = cache / name
        try:
            if name == "" or folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    pass
        except OSError as error:
            return f"{folder}: {error.strerror}"
    free = shutil.disk_usage(cache).free
    return f"{cache}: {free // 2**20} MiB left on its disk" if free < LEAST_BYTES else ""


def _borrow(cache: Path, spare: Path) -> None:
    for repository in cache.glob("store/*.git"):
        own = spare / "store" / repository.name
        create_repository(own)
        lay_out_repository(own, "", repository / "objects")
    for name in _READ:
        if (cache / name).is_dir():
            (spare / name).symlink_to(cache / name)
    for name in _EACH:
        (spare / name).mkdir()
        for folder in cache.glob(f"{name}/*"):
            if folder.is_dir() and not folder.name.startswith("."):
                (spare / name / folder.name).symlink_to(folder)
