"""A plain local repository that stands in for an opened upstream of the store."""

from __future__ import annotations

import os
import subprocess
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from porter.errors import SourceUnavailable
from porter.git.objects import Entry, Oid, blob_id, encode_commit, hash_object
from porter.git.objects import Signature as Who
from porter.git.odb import Odb
from porter.upstream.pins import tree_objects

WHO = Who("Ada Porter", "ada@example.org", 1700000000, "+0100")


def git(folder: Path, *args: str, data: bytes = b"", check: bool = True) -> tuple[int, bytes, str]:
    """Run git sealed off from the machine's configuration."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env |= {
        "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C",
        "GIT_AUTHOR_NAME": "T", "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "T", "GIT_COMMITTER_EMAIL": "t@example.org",
        "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / ".none"),
    }  # fmt: skip
    done = subprocess.run(["git", *args], cwd=folder, input=data, capture_output=True, env=env)
    if check:
        assert done.returncode == 0, (args, done.stderr)
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


@dataclass(frozen=True)
class PlainPin:
    tree: Oid
    name: str = "plain"
    context: int = 3


@dataclass
class PlainUpstream:
    """A repository's tree as level 0. ``hidden`` blobs are covered by no source."""

    git_dir: Path
    pin: PlainPin
    hidden: frozenset[Oid] = frozenset()
    odb: Odb = field(init=False)
    commit: Oid = field(init=False)

    def __post_init__(self) -> None:
        self.odb = Odb(self.git_dir)
        body = encode_commit(self.pin.tree, [], WHO, WHO, "upstream\n")
        self.commit = hash_object("commit", body)
        path = self.git_dir / "objects" / self.commit[:2] / self.commit[2:]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(zlib.compress(b"commit %d\0" % len(body) + body))

    def present(self, oids: Iterable[Oid]) -> set[Oid]:
        return self.odb.has(oids)

    def blobs(self, oids: Iterable[Oid]) -> dict[Oid, bytes]:
        wanted = list(oids)
        if lacking := [oid for oid in wanted if oid in self.hidden]:
            raise SourceUnavailable(f"{len(lacking)} files are not covered")
        return self.odb.read_many(wanted)


def write_tree(repository: Path, tree: Mapping[bytes, tuple[int, bytes]]) -> Oid:
    """Store a whole tree and return its id."""
    entries = {path: Entry(mode, blob_id(content)) for path, (mode, content) in tree.items()}
    objects = [("blob", content) for _, content in tree.values()]
    made = tree_objects(entries)
    for kind, body in [*objects, *(("tree", body) for _, body in made.values())]:
        oid = hash_object(kind, body)
        path = repository / ".git" / "objects" / oid[:2] / oid[2:]
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(zlib.compress(b"%s %d\0" % (kind.encode(), len(body)) + body, 1))
    return made[b""][0]
