"""Paths that must not be written to: out of the tree, or into what may pass for ``.git``."""

from __future__ import annotations

import re
from functools import lru_cache

_NTFS = re.compile(rb"(?:\.git|git~\d+)[ .]*(?:$|[:\\])", re.IGNORECASE)
# HFS+ does not see these code points, so `.g<U+200C>it` is `.git` there.
_HFS_UNSEEN = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")


@lru_cache(maxsize=2**16)
def is_dot_git(part: bytes) -> bool:
    """True for a path component that some file system takes for ``.git``."""
    seen = _HFS_UNSEEN.sub("", part.decode("utf-8", "replace")).encode()
    return any(_NTFS.match(piece) for piece in seen.split(b"\\"))


def escapes(path: bytes) -> bool:
    """True when ``path``, read from the tree's root, is absolute, or leads out of the tree or
    nowhere.

    A backslash counts as a separator too, since it is one on Windows.
    """
    depth = 0
    parts = re.split(rb"[/\\]", path)
    if parts[0] == b"" or re.match(rb"[A-Za-z]:", path):
        return True
    for part in parts:
        if part == b"..":
            depth -= 1
        elif part not in (b".", b""):
            depth += 1
        if depth < 0:
            return True
    return depth == 0
