"""git's objects as values: object ids, tree entries, and the exact bytes git hashes.

Levels are computed by hashing, not by running git: a tree id is the SHA-1 of a few hundred bytes,
and forking ``git`` once per patch costs thirty times as much. These functions reproduce git's
object encodings (Documentation/technical/pack-format and git-hash-object) and nothing else;
:mod:`porter.git.odb` reads and writes objects.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NewType

Oid = NewType("Oid", str)
"""Lower-case hexadecimal SHA-1 id of a git object, 40 characters."""

_OID = re.compile(r"[0-9a-f]{40}\Z")

MODE_FILE = 0o100644
MODE_EXEC = 0o100755
MODE_LINK = 0o120000
MODE_TREE = 0o040000
MODE_SUBMODULE = 0o160000


def oid(text: str) -> Oid:
    """Return ``text`` as an :data:`Oid`; raise ValueError unless it is 40 lower-case hex digits."""
    if not _OID.match(text):
        raise ValueError(f"expected 40 hexadecimal digits, found {text!r}")
    return Oid(text)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a tree: git file mode and object id. Its name is the key it is stored under."""

    mode: int
    oid: Oid

    @property
    def is_tree(self) -> bool:
        return self.mode == MODE_TREE

    @property
    def is_blob(self) -> bool:
        """True for regular files and symbolic links (both are stored as blobs)."""
        return self.mode not in (MODE_TREE, MODE_SUBMODULE)


def hash_object(kind: str, body: bytes) -> Oid:
    """Return the id of the object of type ``kind`` (blob, tree or commit) that holds ``body``."""
    sha = hashlib.sha1(b"%s %d\0" % (kind.encode(), len(body)), usedforsecurity=False)
    sha.update(body)
    return Oid(sha.hexdigest())


def blob_id(content: bytes) -> Oid:
    """Return the id git gives a file with these bytes."""
    return hash_object("blob", content)


def encode_tree(entries: Iterable[tuple[bytes, Entry]]) -> bytes:
    """Return the body of a tree object. Entries are (name, entry) in any order.

    They are sorted as git does: a folder as if its name ended in a slash.
    """
    rows = sorted((name + b"/" if entry.is_tree else name, name, entry) for name, entry in entries)
    return b"".join(
        b"%o %s\0%s" % (entry.mode, name, bytes.fromhex(entry.oid)) for _, name, entry in rows
    )


def decode_tree(body: bytes) -> dict[bytes, Entry]:
    """Return the entries of a tree object's body, by name, in git's order."""
    entries: dict[bytes, Entry] = {}
    at = 0
    while at < len(body):
        space = body.index(b" ", at)
        end = body.index(b"\0", space)
        mode = int(body[at:space], 8)
        entries[body[space + 1 : end]] = Entry(mode, Oid(body[end + 1 : end + 21].hex()))
        at = end + 21
    return entries


@dataclass(frozen=True, slots=True)
class Signature:
    """Author and time as a commit records them: ``name <email> seconds zone``."""

    name: str
    email: str
    seconds: int
    zone: str = "+0000"

    def encode(self) -> bytes:
        return f"{self.name} <{self.email}> {self.seconds} {self.zone}".encode()


def encode_commit(
    tree: Oid, parents: Iterable[Oid], author: Signature, committer: Signature, message: str
) -> bytes:
    """Return the body of a commit object. ``message`` is written as UTF-8, as it stands."""
    lines = [b"tree " + tree.encode()]
    lines += [b"parent " + parent.encode() for parent in parents]
    lines += [b"author " + author.encode(), b"committer " + committer.encode(), b""]
    return b"\n".join(lines) + b"\n" + message.encode()
