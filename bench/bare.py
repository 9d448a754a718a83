"""The floor for building levels: the smallest applier that is right for valid patches.

It checks nothing that a patch states. The extra time of porter's own applier is the cost of its
checks: names, modes, old ids, anchors, every context line, everything git would read differently.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

_FILE = re.compile(rb"^diff --git a/(.*) b/.*$", re.MULTILINE)
_HUNK = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@.*\n((?:[ +-].*\n)*)", re.MULTILINE)

Folder = dict[bytes, bytes]


class Bare:
    """Compute the trees of a series of plain edits, by hashing alone."""

    def __init__(self, git_dir: Path, root: str) -> None:
        command = ["git", f"--git-dir={git_dir}", "cat-file", "--batch"]
        self.git = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.folders: dict[bytes, Folder] = {}
        self.files: dict[bytes, bytes] = {}
        self.root = root

    def read(self, oids: list[str]) -> list[bytes]:
        assert self.git.stdin is not None
        assert self.git.stdout is not None
        self.git.stdin.write("".join(f"{oid}\n" for oid in oids).encode())
        self.git.stdin.flush()
        found = []
        for _ in oids:
            size = int(self.git.stdout.readline().split()[2])
            found.append(self.git.stdout.read(size + 1)[:-1])
        return found

    def load(self, paths: set[bytes]) -> None:
        """Read the folders, depth by depth, and then all files."""
        wanted = {b"": self.root}
        while wanted:
            for name, body in zip(wanted, self.read(list(wanted.values())), strict=True):
                self.folders[name] = decode(body)
            above = {
                b"/".join(p.split(b"/")[:n]) for p in paths for n in range(1, p.count(b"/") + 1)
            }
            wanted = {
                name: self.row(name)[-20:].hex()
                for name in above - self.folders.keys()
                if name.rpartition(b"/")[0] in self.folders
            }
        ordered = sorted(paths)
        contents = self.read([self.row(path)[-20:].hex() for path in ordered])
        self.files = dict(zip(ordered, contents, strict=True))

    def row(self, path: bytes) -> bytes:
        folder, _, name = path.rpartition(b"/")
        return self.folders[folder][name]

    def apply(self, patch: list[tuple[bytes, bytes]]) -> str:
        """Apply one patch's sections and return the root's new id."""
        touched = set()
        for path, section in patch:
            lines = self.files[path].split(b"\n")
            for match in reversed(list(_HUNK.finditer(section))):
                at, count = int(match[1]) - 1, int(match[2] or 1)
                body = match[3].split(b"\n")[:-1]
                lines[at : at + count] = [line[1:] for line in body if line[0] != 45]
            content = self.files[path] = b"\n".join(lines)
            self.put(path, hashed(b"blob", content))
            touched.add(path.rpartition(b"/")[0])
        folders = {f for t in touched for f in parents(t)}
        root = b""
        for folder in sorted(folders, key=lambda f: -f.count(b"/") if f else 1):
            root = hashed(b"tree", b"".join(self.folders[folder].values()))
            if folder:
                self.put(folder, root)
        return root.hex()

    def put(self, path: bytes, oid: bytes) -> None:
        folder, _, name = path.rpartition(b"/")
        self.folders[folder][name] = self.folders[folder][name][:-20] + oid

    def close(self) -> None:
        self.git.communicate()


def hashed(kind: bytes, body: bytes) -> bytes:
    return hashlib.sha1(b"%s %d\0" % (kind, len(body)) + body).digest()


def decode(body: bytes) -> Folder:
    folder: Folder = {}
    at = 0
    while at < len(body):
        end = body.index(b"\0", at)
        folder[body[body.index(b" ", at) + 1 : end]] = body[at : end + 21]
        at = end + 21
    return folder


def parents(folder: bytes) -> list[bytes]:
    parts = folder.split(b"/") if folder else []
    return [b"/".join(parts[:n]) for n in range(len(parts) + 1)]


def bare_trees(git_dir: Path, root: str, folder: Path) -> list[str]:
    """Return the tree ids of the series in ``folder``, which edits existing files only."""
    names = (folder / "series").read_text().split()
    patches = []
    for name in names:
        parts = _FILE.split((folder / name).read_bytes())
        patches.append(list(zip(parts[1::2], parts[2::2], strict=True)))
    bare = Bare(git_dir, root)
    bare.load({path for patch in patches for path, _ in patch})
    trees = [bare.apply(patch) for patch in patches]
    bare.close()
    return [root, *trees]
