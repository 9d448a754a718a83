"""Fetch objects with git into a staging repository, then publish each pack by a rename.

No git command that writes ever runs inside the store, except ``index-pack``. A fetch goes to a
fresh staging repository, because a killed git leaves ``shallow.lock`` or ``config.lock`` behind,
which would stop the next fetch; and because a partial fetch registers its remote as a promisor,
after which git would fetch missing objects by itself, one connection for each. Only packs move from
staging to the store.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from porter.errors import BadInput, PorterError
from porter.git.objects import Oid
from porter.git.odb import git_environment, lay_out_repository
from porter.git.run import config_fault
from porter.places import cache_dir

STALL_SECONDS = 90.0
_NOT_THERE = re.compile(
    r"not our ref ([0-9a-f]{40})|(?:missing blob|unable to read) ([0-9a-f]{40})"
)
_RECEIVING = re.compile(
    r"Receiving objects:\s+\d+% \((\d+)/(\d+)\)(?:, ([0-9.]+) (bytes|[KMG]iB))?"
)
_UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SETTINGS = (
    *("protocol.version=2", "fetch.unpackLimit=1", "transfer.unpackLimit=1"),
    *("gc.auto=0", "maintenance.auto=false", "fetch.writeCommitGraph=false"),
    *("fetch.bundleURI=", "remote.pushDefault=", "fetch.parallel=1"),
)
_CONFIG = """\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
[gc]
\tauto = 0
[maintenance]
\tauto = false
"""


class Progress(Protocol):
    """Called with a transfer's state: what, objects done, objects in all, bytes received."""

    def __call__(self, what: str, done: int, total: int, received: int) -> None: ...


class FetchFailed(PorterError):
    """git could not fetch. ``absent`` is an object that the remote reports as missing, if any."""

    def __init__(self, reason: str, absent: Oid | None = None) -> None:
        super().__init__(reason)
        self.absent = absent


def create_repository(path: Path) -> None:
    """Make an empty bare repository at ``path`` atomically, unless one exists."""
    if (path / "objects").is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f"{path.name}.", suffix=".new", dir=path.parent))
    try:
        lay_out_repository(made, _CONFIG)
        made.chmod(0o755)
        try:
            made.rename(path)
        except OSError:
            if not (path / "objects").is_dir():  # another porter's is as good as ours
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def staging(name: str) -> Iterator[Path]:
    """Give a fresh repository in the cache for one fetch of the upstream ``name``; then delete it.

    The caller holds the upstream's lock, so another staging folder of that name is left over.
    """
    folder = cache_dir() / "staging"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{name}@*"):
        shutil.rmtree(left, ignore_errors=True)
    top = Path(tempfile.mkdtemp(prefix=f"{name}@", dir=folder))
    try:
        create_repository(top / "git")
        yield top / "git"
    finally:
        shutil.rmtree(top, ignore_errors=True)


def fetch_objects(
    git_dir: Path, url: str, wants: Iterable[Oid], what: str, progress: Progress | None
) -> int:
    """Fetch exactly ``wants`` into the staging repository ``git_dir``; return the bytes received.

    A commit comes with its trees, without history or blobs; a blob comes alone. One connection.
    Raises FetchFailed, and BadInput for a configuration of the user's that git rejects: no other
    source would fare better.
    """
    before = _pack_bytes(git_dir)
    command = [
        "git",
        f"--git-dir={git_dir}",
        *(word for setting in _SETTINGS for word in ("-c", setting)),
        *("fetch", "--progress", "--depth=1", "--filter=blob:none", "--no-tags"),
        *("--no-write-fetch-head", "--no-recurse-submodules", "--stdin", "--", url),
    ]
    feed = "".join(f"{oid}\n" for oid in wants).encode()
    _watch(command, feed, what, progress)
    return _pack_bytes(git_dir) - before


def fetch_history(git_dir: Path, url: str, what: str, progress: Progress | None) -> None:
    """Fetch the commits of all branches and tags, without trees, into the staging repository.

    Raises FetchFailed.
    """
    command = [
        "git",
        f"--git-dir={git_dir}",
        *(word for setting in _SETTINGS for word in ("-c", setting)),
        *("fetch", "--progress", "--filter=tree:0", "--no-tags"),
        *("--no-write-fetch-head", "--no-recurse-submodules", "--", url),
        *("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"),
    ]
    _watch(command, b"", what, progress)


def list_refs(url: str, *patterns: str) -> tuple[dict[str, Oid], str]:
    """Return the remote's refs that match, with their ids, and the branch that HEAD names.

    An annotated tag also has its commit, as ``refs/tags/NAME^{}``. Raises FetchFailed.
    """
    seconds = float(os.environ.get("PORTER_STALL_SECONDS", STALL_SECONDS))
    command = ["git", "ls-remote", "--symref", "--", url, *patterns]
    env = git_environment(network=True)
    try:
        done = subprocess.run(
            command, capture_output=True, env=env, stdin=subprocess.DEVNULL, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise FetchFailed(f"no answer for {seconds:.0f} s") from None
    except FileNotFoundError:
        raise FetchFailed("no git on PATH; install git 2.30 or newer") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines()]
        raise FetchFailed(_reason([line for line in lines if line], done.returncode))
    rows = [line.split("\t") for line in done.stdout.decode(errors="replace").splitlines()]
    heads = [value for value, name in rows if name == "HEAD" and value.startswith("ref: ")]
    branch = heads[0].removeprefix("ref: refs/heads/") if heads else ""
    return {name: Oid(value) for value, name in rows if not value.startswith("ref: ")}, branch


def publish_packs(source: Path, target: Path) -> list[Path]:
    """Move every finished pack of the staging repository into the store; return the packs there.

    The index goes last: git finds a pack by its index, so a reader sees all of it or nothing. An
    existing pack of the same name holds the same bytes; it is replaced in case it is damaged.
    """
    published = []
    folder = target / "objects" / "pack"
    for index in sorted((source / "objects" / "pack").glob("*.idx")):
        pack = index.with_suffix(".pack")
        for path in (pack, index):
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.replace(folder / path.name)
        published.append(folder / pack.name)
    _sync_folder(folder)
    return published


def drop_files(git_dir: Path, files: Iterable[Path]) -> None:
    """Delete packs or loose objects; releases must then be read again."""
    for file in files:
        suffixes = (".idx", ".rev", ".pack") if file.suffix == ".pack" else (file.suffix,)
        for suffix in suffixes:  # the index first: git ignores a pack without one
            file.with_suffix(suffix).unlink(missing_ok=True)
    _sync_folder(git_dir / "objects" / "pack")
    for marker in git_dir.glob("porter-read-*"):
        marker.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable, where the platform can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def _pack_bytes(git_dir: Path) -> int:
    return sum(path.stat().st_size for path in (git_dir / "objects" / "pack").glob("*.pack"))


def _watch(command: list[str], feed: bytes, what: str, progress: Progress | None) -> None:
    """Run git, report its progress, and end it when it is silent for too long."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=git_environment(network=True),
        )
    except FileNotFoundError:
        raise FetchFailed("no git on PATH; install git 2.30 or newer") from None
    lines: list[str] = []
    try:
        assert process.stdin is not None
        try:
            process.stdin.write(feed)
            process.stdin.close()
        except BrokenPipeError:
            pass
        for line in _lines(process):
            if match := _RECEIVING.search(line):
                if progress:
                    size = float(match[3]) * _UNITS[match[4]] if match[3] else 0
                    progress(what, int(match[1]), int(match[2]), int(size))
            elif line.strip():
                lines.append(line.strip())
        code = process.wait()
    finally:
        if process.poll() is None:
            _end(process)
        if process.stderr is not None:
            process.stderr.close()
    if code:
        if fault := config_fault("\n".join(lines)):
            raise BadInput(fault)
        absent = next((m for m in map(_NOT_THERE.search, lines) if m), None)
        oid = Oid(absent[1] or absent[2]) if absent else None
        raise FetchFailed(_reason(lines, code), oid)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let git end its helpers; kill it when it does not end."""
    process.terminate()
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    assert process.stderr is not None
    stall = float(os.environ.get("PORTER_STALL_SECONDS", STALL_SECONDS))
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        heard = time.monotonic()
        while True:
            if not selector.select(timeout=1.0):
                if time.monotonic() - heard > stall:
                    raise FetchFailed(f"no answer for {stall:.0f} s")
                continue
            data = os.read(process.stderr.fileno(), 1 << 16)
            heard = time.monotonic()
            if not data:
                break
            *whole, rest = re.split(rb"[\r\n]", rest + data)
            yield from (line.decode(errors="replace") for line in whole)
    yield rest.decode(errors="replace")


def _reason(lines: list[str], code: int) -> str:
    """Return the most telling line of git's messages, without passwords."""
    errors = [line for line in lines if line.startswith(("fatal:", "error:", "ssh:", "remote: "))]
    fatal = [line for line in errors if not line.startswith("remote: ")] or errors or lines[-1:]
    text = fatal[0] if fatal else f"git fetch ended with exit code {code}"
    text = re.sub(r"^(fatal|error): ", "", text)
    return re.sub(r"//[^/@\s]*@", "//", text)[:300]
