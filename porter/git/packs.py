"""Read pack files: which objects they hold, where, and with which checksum.

``git fsck`` and ``verify-pack`` say that a pack is bad, but not which of its objects can still be
used. The index holds a CRC of every object's stored bytes, so reading alone finds the object that a
flipped byte belongs to (format: git's Documentation/gitformat-pack).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from hashlib import sha1
from itertools import pairwise
from pathlib import Path

from porter.git.objects import Oid

_IDX_MAGIC = b"\xfftOc\x00\x00\x00\x02"


class DamagedPack(Exception):
    """A pack or its index is inconsistent; the text says how."""


@dataclass(frozen=True)
class PackedObject:
    """One object of a pack: id, first byte, CRC-32 of its stored bytes."""

    oid: Oid
    offset: int
    crc: int


def read_index(path: Path) -> list[PackedObject]:
    """Return the objects of a version 2 pack index in pack order.

    Raises DamagedPack when its own checksum is wrong.
    """
    data = path.read_bytes()
    if sha1(data[:-20], usedforsecurity=False).digest() != data[-20:] or data[:8] != _IDX_MAGIC:
        raise DamagedPack("its index does not match its own checksum")
    count = struct.unpack_from(">I", data, 8 + 255 * 4)[0]
    ids = 8 + 256 * 4
    crcs = ids + 20 * count
    offsets = crcs + 4 * count
    large = offsets + 4 * count
    rows = []
    for i in range(count):
        oid = Oid(data[ids + 20 * i : ids + 20 * i + 20].hex())
        (crc,) = struct.unpack_from(">I", data, crcs + 4 * i)
        (offset,) = struct.unpack_from(">I", data, offsets + 4 * i)
        if offset & 0x8000_0000:
            (offset,) = struct.unpack_from(">Q", data, large + 8 * (offset & 0x7FFF_FFFF))
        rows.append(PackedObject(oid, offset, crc))
    return sorted(rows, key=lambda row: row.offset)


def flipped_objects(pack: Path, objects: list[PackedObject]) -> list[Oid]:
    """Return the objects whose stored bytes changed. Raises DamagedPack for other damage."""
    data = pack.read_bytes()
    ends = [row.offset for row in objects] + [len(data) - 20]
    if len(data) < 32 or ends != sorted(ends):
        raise DamagedPack(f"it is cut short ({len(data)} bytes)")
    flipped = [
        row.oid
        for row, (start, end) in zip(objects, pairwise(ends), strict=True)
        if zlib.crc32(data[start:end]) != row.crc
    ]
    if not flipped and sha1(data[:-20], usedforsecurity=False).digest() != data[-20:]:
        raise DamagedPack("its header or checksum changed, its objects did not")
    return flipped
