"""Propose which files of an upstream a port wants: all but media, data and what only documents.

Files' sizes are unknown before they are fetched, so extensions and folders decide.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from porter.git.objects import Entry
from porter.upstream.needs import MEDIA_SUFFIXES

LARGE_SUFFIXES = frozenset({
    ".bin", ".ckpt", ".h5", ".hdf5", ".npy", ".npz", ".onnx", ".pb", ".pkl", ".pickle", ".pt",
    ".pth", ".safetensors", ".parquet", ".tfrecord", ".msgpack",
    ".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".whl", ".xz", ".zip",
    ".otf", ".ttf", ".woff", ".woff2", ".psd",
})  # fmt: skip
"""Weights, arrays, archives and fonts."""
FOLDERS = frozenset({
    ".circleci", ".devcontainer", ".github", ".gitlab", ".vscode", ".idea", "asset", "assets",
    "doc", "docs", "figs", "figures", "images", "img", "imgs", "media", "notebooks",
    "paper", "papers",
})  # fmt: skip
"""Folders at the top that hold no code."""
_FEW = 8  # so many entries name a folder's files one by one


def is_wanted(path: str, packages: Collection[str] = ()) -> bool:
    """Return whether a port usually wants a file. Data in one of the ``packages``, folders with an
    ``__init__.py``, belongs to the code.
    """
    top, _, rest = path.partition("/")
    suffix = "." + path.rpartition("/")[2].rpartition(".")[2].lower()
    if rest and (top.lower() in FOLDERS or top.endswith(".egg-info")):
        return False
    in_package = any(path.startswith(f"{folder}/") for folder in packages)
    return suffix not in (MEDIA_SUFFIXES if in_package else MEDIA_SUFFIXES | LARGE_SUFFIXES)


def propose_wanted(listing: Mapping[bytes, Entry]) -> tuple[str, ...]:
    """Return the entries of ``wanted``: folders (``src/``) where nearly all files are wanted.

    Files whose names are not UTF-8 cannot be named, so they are wanted with their folder or not.
    """
    packages = {
        os.fsdecode(path.rpartition(b"/")[0]) for path in listing if path.endswith(b"/__init__.py")
    }
    wanted = {}
    for path, entry in listing.items():
        try:
            name = path.decode()
        except UnicodeDecodeError:
            continue
        if entry.is_blob:
            wanted[name] = is_wanted(name, packages)
    return tuple(_entries("", wanted))


def _entries(folder: str, wanted: Mapping[str, bool]) -> list[str]:
    """Return the entries for the files below ``folder`` ("" or ending in a slash)."""
    parts: dict[str, list[str]] = {}
    for path in wanted:
        if path.startswith(folder):
            name, slash, _ = path[len(folder) :].partition("/")
            parts.setdefault(folder + name + slash, []).append(path)
    entries = []
    for part, paths in sorted(parts.items()):
        kept = [path for path in paths if wanted[path]]
        if not kept:
            continue
        inner = [part]
        if part.endswith("/") and len(kept) < len(paths):
            inner = _entries(part, {path: wanted[path] for path in paths})
            if len(inner) > _FEW and len(kept) >= 0.9 * len(paths):
                inner = [part]
        entries += inner
    return entries


def left_out_text(paths: Iterable[str]) -> str:
    """Return files by top folder or extension, with their number: ``docs/ (12), *.png (3)``."""
    counts: Counter[str] = Counter()
    for path in paths:
        top, slash, _ = path.partition("/")
        name = path.rpartition("/")[2]
        suffix = "*." + name.rpartition(".")[2].lower() if "." in name.lstrip(".") else name
        is_aside = slash and (top.lower() in FOLDERS or top.endswith(".egg-info"))
        counts[f"{top}/" if is_aside else suffix] += 1
    return ", ".join(f"{name} ({number})" for name, number in sorted(counts.items()))
