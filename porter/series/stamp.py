"""Detect changes to a port's series since a tree's levels were built.

Import-cost wall: every move of a tree needs this (:mod:`porter.tree.fast_checkout`).
"""

from __future__ import annotations

import os
import zlib


def series_stamp(root: str, port: str) -> str:
    """Return a checksum of all that a port's levels depend on: pins, series file and patches.

    It detects changes and proves no content (levels carry their own ids).
    """
    folder = os.path.join(root, "patches", port)
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".patch"))
    except OSError:
        names = []
    total, length = 0, 0
    paths = [os.path.join(root, "upstream_pins.yaml")]
    paths += [os.path.join(folder, name) for name in ("series", *names)]
    for path in paths:
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError:
            content = b"absent"
        name = os.fsencode(os.path.basename(path))
        total = zlib.crc32(b"%s\0%d\0" % (name, len(content)), total)
        total = zlib.crc32(content, total)
        length += len(content)
    return f"{len(paths)}-{length}-{total:08x}"
