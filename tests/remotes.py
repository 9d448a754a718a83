"""Generated upstreams: bare git repositories, source releases, a project that pins them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.git.objects import Entry, Oid
from porter.upstream.pins import Pin, load_pins, tree_objects

FILES: dict[str, bytes] = {
    "LICENSE": b"Do what you like.\n",
    "README.md": b"# A model\n",
    "src/model.py": b"def forward(x):\n    return x\n",
    "src/deep/layer.py": b"WIDTH = 64\n",
    "docs/long.txt": b"".join(b"%d words of no interest\n" % n for n in range(2000)),
}


@dataclass(frozen=True)
class Remote:
    """A bare repository that serves single objects, and its newest commit."""

    path: Path
    commit: Oid
    tree: Oid

    @property
    def url(self) -> str:
        return f"file://{self.path}"


def git(*args: str | Path, feed: bytes = b"") -> bytes:
    """Run git and return its output."""
    done = subprocess.run(["git", *map(str, args)], input=feed, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def make_remote(path: Path, files: Mapping[str, bytes] = FILES, history: int = 3) -> Remote:
    """Make a bare repository with ``history`` commits; the last one holds ``files``."""
    git("init", "--quiet", "--bare", path)
    for name in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        git("--git-dir", path, "config", name, "true")
    parent: list[str] = []
    for step in range(history, 0, -1):
        contents = files if step == 1 else {"old.txt": os.urandom(20_000)}
        tree = write_tree(path, contents)
        made = git("--git-dir", path, "commit-tree", tree, *parent, feed=b"step\n").decode().strip()
        parent = ["-p", made]
    git("--git-dir", path, "update-ref", "refs/heads/main", made)
    git("--git-dir", path, "symbolic-ref", "HEAD", "refs/heads/main")
    return Remote(path, Oid(made), Oid(tree))


def write_tree(repository: Path, files: Mapping[str, bytes]) -> str:
    """Store files and their trees; ``x.sh`` is executable, ``*.link`` a symbolic link."""
    entries: dict[bytes, Entry] = {}
    for name, content in files.items():
        mode = (
            0o100755 if name.endswith(".sh") else 0o120000 if name.endswith(".link") else 0o100644
        )
        made = git("--git-dir", repository, "hash-object", "-w", "--stdin", feed=content)
        entries[name.encode()] = Entry(mode, Oid(made.decode().strip()))
    for _, body in sorted(tree_objects(entries).items(), reverse=True):
        git("--git-dir", repository, "hash-object", "-w", "-t", "tree", "--literally", "--stdin",
            feed=body[1])  # fmt: skip
    return tree_objects(entries)[b""][0]


def make_sdist(
    folder: Path, name: str, version: str, files: Mapping[str, bytes], setup: str = ""
) -> str:
    """Put a source release into ``folder``; return its sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    top = f"{name}-{version}"
    info = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    rows = {"setup.py": setup.encode(), "PKG-INFO": info.encode(), **files}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in rows.items():
            member = tarfile.TarInfo(f"{top}/{path}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    archive = gzip.compress(buffer.getvalue(), mtime=0)
    (folder / f"{top}.tar.gz").write_bytes(archive)
    return hashlib.sha256(archive).hexdigest()


def make_project(root: Path, pins: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write upstream_pins.yaml (JSON is YAML) and return the project's root."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "upstream_pins.yaml").write_text(json.dumps({"version": 1, "pins": pins}, indent=1))
    return root


def pin_of(remote: Remote, **more: Any) -> dict[str, Any]:
    """Return the pin of a remote's newest commit."""
    return {
        "url": remote.url,
        "commit": remote.commit,
        "tree": remote.tree,
        "license": "MIT",
        **more,
    }


def one_pin(root: Path, remote: Remote, **more: Any) -> Pin:
    """Make a project in ``root`` whose only pin, ``model``, is the remote; return the pin."""
    make_project(root, {"model": pin_of(remote, **more)})
    return load_pins(root).port("model")


def record_pin_files(root: Path, name: str, remote: Remote) -> None:
    """Write a pin's upstream.listing and upstream.commit, as a project commits them."""
    folder = root / "patches" / name
    folder.mkdir(parents=True, exist_ok=True)
    listing = git("--git-dir", remote.path, "ls-tree", "-r", remote.commit)
    (folder / "upstream.listing").write_bytes(listing)
    body = git("--git-dir", remote.path, "cat-file", "commit", remote.commit)
    (folder / "upstream.commit").write_bytes(body)


def porter(root: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run porter's command line on a project in a separate process."""
    return subprocess.run(
        porter_command(*args), capture_output=True, text=True, env=porter_environment(root, **env)
    )


def porter_command(*args: str) -> list[str]:
    import sys

    return [sys.executable, "-m", "porter", *args]


def porter_environment(root: Path, **env: str) -> dict[str, str]:
    here = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "PORTER_ROOT": str(root), "PYTHONPATH": here, **env}


def git_commands(trace: Path, names: Sequence[str] = ("fetch",)) -> list[list[str]]:
    """Return the git commands of these names in a GIT_TRACE2_EVENT file, with lazy fetches."""
    events = (json.loads(line) for line in trace.read_text().splitlines()) if trace.exists() else ()
    started = [event["argv"] for event in events if event["event"] == "start"]
    return [argv for argv in started if any(name in argv for name in names)]
