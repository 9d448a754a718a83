"""Find paths that must not be written: those that leave the tree, or may pass for ``.git``."""

from __future__ import annotations

import re
from functools import lru_cache

_NTFS = re.compile(rb"(?:\.git|git~\d+)[ .]*(?:$|[:\\])", re.IGNORECASE)
# HFS+ ignores these code points, so `.g<U+200C>it` is `.git` there.
_HFS_UNSEEN = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")


@lru_cache(maxsize=2**16)
def is_dot_git(part: bytes) -> bool:
    """Return whether some file system takes a path component for ``.git``."""
    seen = _HFS_UNSEEN.sub("", part.decode("utf-8", "replace")).encode()
    return any(_NTFS.match(piece) for piece in seen.split(b"\\"))


def escapes(path: bytes) -> bool:
    """Return whether ``path``, from the tree's root, is absolute, empty or leads out of the tree.

    A backslash counts as a separator too, as on Windows.
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
