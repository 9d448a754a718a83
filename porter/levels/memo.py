"""Cache the result of applying a patch to a tree: an unchanged series costs a few small reads.

The key covers all that the result depends on: parent tree, patch hash and applier version. A memo
that cannot be read, or whose checksum is wrong, counts as missing. Memos are never trusted for
writing: a level that goes into the store is built again.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from porter.atomic import write_atomic
from porter.git.objects import Oid, oid
from porter.git.quoting import read_path, show_path
from porter.places import cache_dir

APPLIER_VERSION = 1
"""Bump it when the result of applying any patch could change."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """The tree after a patch, and path -> blob id (None: deleted) of every file it touches."""

    tree: Oid
    files: dict[bytes, Oid | None]


def memo_dir() -> Path:
    """Return the folder of memos, which may be deleted at any time."""
    return cache_dir() / "levels"


def memo_key(parent: Oid, patch_sha256: str) -> str:
    text = f"levels {APPLIER_VERSION} {parent} {patch_sha256}"
    return hashlib.sha256(text.encode()).hexdigest()


def recall(key: str) -> Remembered | None:
    """Return the memo of ``key``, or None."""
    try:
        raw = _path(key).read_bytes()
        checksum, _, body = raw.partition(b"\n")
        if hashlib.sha256(key.encode() + body).hexdigest().encode() != checksum:
            return None
        data = json.loads(body)
        files = {
            read_path(path.encode()): oid(blob) if blob is not None else None
            for path, blob in data["files"].items()
        }
        return Remembered(oid(data["tree"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remember(key: str, result: Remembered) -> None:
    """Write a memo. A cache that cannot be written is no error."""
    body = json.dumps(
        {"tree": result.tree, "files": {show_path(p): blob for p, blob in result.files.items()}}
    ).encode()
    checksum = hashlib.sha256(key.encode() + body).hexdigest().encode()
    with suppress(OSError):
        write_atomic(_path(key), checksum + b"\n" + body)


def _path(key: str) -> Path:
    return memo_dir() / key[:2] / key[2:]
