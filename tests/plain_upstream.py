"""A plain local repository that stands in for an opened upstream of the store."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from porter.errors import SourceUnavailable
from porter.objects import Oid, blob_id, encode_commit, hash_object
from porter.objects import Signature as Who
from porter.odb import Odb

WHO = Who("Ada Porter", "ada@example.org", 1700000000, "+0100")
EMPTY_TREE = Oid("4b825dc642cb6eb9a060e54bf8d69288fbee4904")


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
        self.odb.write([("commit", body)])

    def blobs(self, oids: Iterable[Oid]) -> dict[Oid, bytes]:
        wanted = list(oids)
        if lacking := [oid for oid in wanted if oid in self.hidden]:
            raise SourceUnavailable(f"{len(lacking)} files are not covered")
        return self.odb.read_many(wanted)


def write_tree(repository: Path, tree: Mapping[bytes, tuple[int, bytes]]) -> Oid:
    """Store a whole tree and return its id."""
    index = {"GIT_INDEX_FILE": str(repository / "tmp-index")}
    rows = []
    for path, (mode, content) in sorted(tree.items()):
        oid = blob_id(content)
        folder = repository / ".git" / "objects" / oid[:2]
        if not (folder / oid[2:]).exists():
            git(repository, "hash-object", "-w", "--no-filters", "--stdin", data=content)
        rows.append(b"%o %s\t%s\0" % (mode, oid.encode(), path))
    (repository / "tmp-index").unlink(missing_ok=True)
    env = os.environ | index
    subprocess.run(
        ["git", "update-index", "-z", "--index-info"],
        cwd=repository, input=b"".join(rows), check=True, env=env,
    )  # fmt: skip
    done = subprocess.run(
        ["git", "write-tree"], cwd=repository, capture_output=True, check=True, env=env
    )
    return Oid(done.stdout.decode().strip())


__all__ = ["EMPTY_TREE", "WHO", "PlainPin", "PlainUpstream", "git", "write_tree"]
