"""Folders sent to the machines of a cluster as git objects, each object once.

A folder's identity is the id of the git tree that it is. What a machine has already is not sent to
it again: blobs that another level shares are in the pack that came first.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from porter.git.objects import MODE_EXEC, MODE_FILE, MODE_LINK, Entry, Oid, hash_object
from porter.git.odb import MissingObject, Odb, encode_pack, index_pack, lay_out_repository
from porter.places import cache_dir
from porter.upstream.pins import tree_objects
from porter.upstream.snapshot import Snapshots, files_below, folder_state

REPOSITORY = "cluster.git"
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n[gc]\n\tauto = 0\n"


@dataclass(frozen=True)
class SentFolder:
    """A folder that was sent: the id of its git tree, and the packs that hold its objects.

    The packs are references that the machine resolves when it lacks an object.
    """

    tree: str
    packs: tuple[Any, ...]


@dataclass
class Sender:
    """Sends folders; ``put`` stores a pack where every machine reaches it. Thread-safe."""

    put: Callable[[bytes], Any]
    _packs: dict[Oid, Any] = field(default_factory=dict)
    _sent: dict[Path, tuple[object, SentFolder]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, folder: Path) -> SentFolder:
        """Send what of a folder was not sent before. Raises OSError."""
        with self._lock:
            state = folder_state(folder)
            known = self._sent.get(folder)
            if known is not None and known[0] == state:
                return known[1]
            objects, root = _objects(folder)
            new = {oid: typed for oid, typed in objects.items() if oid not in self._packs}
            if (pack := encode_pack(list(new.values()))) is not None:
                reference = self.put(pack)
                self._packs.update(dict.fromkeys(new, reference))
            packs = tuple(dict.fromkeys(self._packs[oid] for oid in objects))
            sent = SentFolder(root, packs)
            self._sent[folder] = state, sent
            return sent


def _objects(folder: Path) -> tuple[dict[Oid, tuple[str, bytes]], Oid]:
    """Return the objects of a folder, byte code left out, and the id of its tree."""
    entries: dict[bytes, Entry] = {}
    objects: dict[Oid, tuple[str, bytes]] = {}
    for path, file in files_below(os.fsencode(folder)):
        if b"__pycache__" in path.split(b"/") or file.is_dir(follow_symlinks=False):
            continue
        target = Path(os.fsdecode(file.path))
        if file.is_symlink():
            mode, body = MODE_LINK, os.fsencode(target.readlink())
        else:
            mode = MODE_EXEC if file.stat().st_mode & 0o111 else MODE_FILE
            body = target.read_bytes()
        oid = hash_object("blob", body)
        objects[oid] = ("blob", body)
        entries[path] = Entry(mode, oid)
    trees = tree_objects(entries)
    objects |= {oid: ("tree", body) for oid, body in trees.values()}
    return objects, trees[b""][0]


@dataclass
class Receiver:
    """The folders of a machine; ``get`` resolves the references of packs."""

    get: Callable[[list[Any]], Sequence[bytes]]
    _folders: dict[str, Path] = field(default_factory=dict)
    _snapshots: Snapshots = field(default_factory=Snapshots)
    _odb: Odb | None = None

    def folder(self, sent: SentFolder) -> Path:
        """Return a read-only folder with the files of what was sent, compared with their ids.

        Made once for all processes of the machine. Raises OSError and PorterError.
        """
        folder = self._folders.get(sent.tree)
        if folder is None or not folder.is_dir():
            odb = self._repository()
            if not _is_whole(odb, Oid(sent.tree)):
                with FileLock(odb.git_dir / "porter.lock"):
                    if not _is_whole(odb, Oid(sent.tree)):
                        for pack in self.get(list(sent.packs)):
                            index_pack(odb.git_dir, pack)
                        odb.close()
            folder = self._folders[sent.tree] = self._snapshots.whole(odb, Oid(sent.tree))
        self._snapshots.mend(folder)
        return folder

    def _repository(self) -> Odb:
        if self._odb is None or not self._odb.git_dir.is_dir():
            git_dir = cache_dir() / REPOSITORY
            lay_out_repository(git_dir, _CONFIG)
            self._odb = Odb(git_dir)
        os.utime(self._odb.git_dir)  # gc frees it when it was not used for long
        return self._odb


def _is_whole(odb: Odb, tree: Oid) -> bool:
    """Whether every object of a tree is there."""
    if not odb.has([tree]):
        return False
    try:
        wanted = {entry.oid for entry in odb.flat(tree).values()}
    except MissingObject:
        return False
    return odb.has(wanted) == wanted
