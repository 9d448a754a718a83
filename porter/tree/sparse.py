"""Compute the shortest list of sparse-checkout patterns that selects a tree's files.

The patterns select everything except the absent files, so a file that the user adds anywhere else
belongs to the tree. git matches every path against every pattern: a pattern for each of 800 files
would make each checkout slow, so a folder without any selected file is one pattern.
"""

from __future__ import annotations

from collections.abc import Iterable


def sparse_patterns(everything: Iterable[bytes], present: set[bytes]) -> list[bytes] | None:
    """Return the patterns that select ``present`` of ``everything``; None when that is all."""
    folders: dict[bytes, list[bytes]] = {b"": []}
    total: dict[bytes, int] = {}
    there: dict[bytes, int] = {}
    for path in {*everything, *present}:
        here = path in present
        child = path
        while child:
            folder = child.rpartition(b"/")[0]
            siblings = folders.setdefault(folder, [])
            if child == path or child not in total:
                siblings.append(child)
            total[child] = total.get(child, 0) + 1
            there[child] = there.get(child, 0) + here
            child = folder
    if all(there[child] == total[child] for child in folders[b""]):
        return None
    patterns = [b"/*"]
    waiting = sorted(folders[b""], reverse=True)
    while waiting:
        path = waiting.pop()
        if not there[path]:
            patterns.append(b"!/" + _escaped(path) + (b"/" if path in folders else b""))
        elif there[path] < total[path]:
            waiting += sorted(folders[path], reverse=True)
    return patterns


def _escaped(path: bytes) -> bytes:
    for char in b"\\*?[":
        path = path.replace(bytes([char]), b"\\" + bytes([char]))
    return path[:-1] + b"\\ " if path.endswith(b" ") else path
