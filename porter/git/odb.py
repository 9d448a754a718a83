"""Reading and writing the objects of one git repository, without a git process for each.

Levels are built from blobs and trees alone. Forking git for every object costs 3 ms each; one
persistent ``git cat-file --batch-command`` (two processes with git before 2.36, which cannot both
print objects and look them up) answers a thousand in the time of a few forks. Every request waits
for the other process, so whoever needs many objects asks for them at once. One
``git index-pack`` stores all that a series adds at once and atomically.

Nothing here ever reaches for the network. A partial clone would make git fetch a missing object by
itself, one connection for each; the store keeps no promisor remote in its configuration, and the
environment of every git process forbids lazy fetches and all transports besides. A missing object
is :class:`MissingObject`, at once.

Every object read is hashed again: a flipped byte on disk is :class:`~porter.errors.CorruptSource`.
"""

from __future__ import annotations

import os
import subprocess
import threading
import zlib
from collections.abc import Iterable, Iterator
from hashlib import sha1
from pathlib import Path
from typing import IO, Literal

from porter.atomic import write_atomic
from porter.errors import BadInput, CorruptSource, PorterError
from porter.git.objects import Entry, Oid, decode_tree, hash_object
from porter.git.run import first_error

# Requests in flight: 50 bytes each stay below a pipe's 64 KiB, so nobody waits on both ends.
_CHUNK = 500
Question = Literal["contents", "info"]
"""What is asked about an object; the words are those of ``git cat-file --batch-command``."""
_BOTH = "--batch-command"
_ALONE: dict[Question, str] = {"contents": "--batch", "info": "--batch-check"}
_USAGE = 129
"""The exit code of a git that does not know an option."""
WRITTEN = "porter-written"  # touched by every write
_NO_GIT = "git: expected it on PATH, found none; install git 2.30 or newer"
_PACK_TYPES = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}


class MissingObject(PorterError):
    """The repository does not hold an object. ``oid`` is its id."""

    def __init__(self, git_dir: Path, oid: Oid) -> None:
        super().__init__(f"{git_dir}: no object {oid}")
        self.oid = oid


def git_environment(*, network: bool = False) -> dict[str, str]:
    """Return the environment for a git process on a repository named outright.

    The user's configuration, proxies and credentials stay; variables that would point git at
    another repository (set inside hooks) go. Without ``network`` git cannot open any transport.
    """
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith(_USERS_OWN)
    }
    env.update(LC_ALL="C", LANGUAGE="C", GIT_NO_REPLACE_OBJECTS="1", GIT_OPTIONAL_LOCKS="0")
    if network:
        env.setdefault("GIT_TERMINAL_PROMPT", "0")
    else:
        env.update(GIT_NO_LAZY_FETCH="1", GIT_ALLOW_PROTOCOL="none")
    return env


_USERS_OWN = (
    "GIT_CONFIG",  # GIT_CONFIG_GLOBAL, GIT_CONFIG_COUNT and its keys, GIT_CONFIG_NOSYSTEM
    "GIT_SSH",
    "GIT_SSL",
    "GIT_ASKPASS",
    "GIT_PROXY",
    "GIT_HTTP",
    "GIT_TRACE",
    "GIT_EXEC_PATH",
    "GIT_TERMINAL_PROMPT",
    "GIT_ALLOW_PROTOCOL",
)


def sealed_environment(git_dir: Path) -> dict[str, str]:
    """Return an environment in which git sees one repository and no configuration but its own.

    A line that git rejects in the user's configuration would end every reader, which looks like
    damage to the objects.
    """
    kept = ("GIT_EXEC_PATH", "GIT_TRACE")
    env = {k: v for k, v in git_environment().items() if k.startswith(kept) or k[:4] != "GIT_"}
    return env | {
        "GIT_DIR": str(git_dir),
        "GIT_INDEX_FILE": str(git_dir / "index"),
        "HOME": str(git_dir),  # git before 2.32 does not know GIT_CONFIG_GLOBAL
        "XDG_CONFIG_HOME": str(git_dir),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
    }


class Odb:
    """The objects of the repository ``git_dir``; a context manager, safe between threads."""

    def __init__(self, git_dir: Path) -> None:
        self.git_dir = Path(git_dir)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}  # by git cat-file's option
        self._lock = threading.RLock()
        self._trees: dict[Oid, dict[bytes, Entry]] = {}
        self._flat: dict[Oid, dict[bytes, Entry]] = {}

    def __enter__(self) -> Odb:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the reading processes. The object may be used again afterwards."""
        with self._lock:
            while self._processes:
                _end(self._processes.popitem()[1])

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:
            pass  # at interpreter exit modules may be gone

    def read(self, oid: Oid) -> bytes:
        """Return the body of an object. Raises MissingObject or CorruptSource."""
        found = self.read_many((oid,))
        if oid not in found:
            raise MissingObject(self.git_dir, oid)
        return found[oid]

    def read_many(self, oids: Iterable[Oid]) -> dict[Oid, bytes]:
        """Return the bodies of the objects that exist; absent ones have no key."""
        return {oid: body for oid, (_, body) in self.read_typed(oids).items()}

    def read_typed(self, oids: Iterable[Oid]) -> dict[Oid, tuple[str, bytes]]:
        """As :meth:`read_many`, with each object's type before its body."""
        found: dict[Oid, tuple[str, bytes]] = {}
        with self._lock:
            for oid, header, source in self._ask(oids, "contents"):
                size = int(header[2])
                body = source.read(size)
                if len(body) != size or source.read(1) != b"\n":
                    raise self._damaged(oid)
                kind = header[1].decode()
                if hash_object(kind, body) != oid:
                    raise self._damaged(oid)
                found[oid] = (kind, body)
        return found

    def has(self, oids: Iterable[Oid]) -> set[Oid]:
        """Return those of ``oids`` that exist."""
        with self._lock:
            return {oid for oid, _, _ in self._ask(oids, "info")}

    def beginning_with(self, short: str) -> list[Oid]:
        """Return the ids of all objects that begin with ``short`` (4 digits or more)."""
        command = ["git", f"--git-dir={self.git_dir}", "rev-parse", f"--disambiguate={short}"]
        done = subprocess.run(command, capture_output=True, text=True, env=git_environment())
        return [Oid(line) for line in done.stdout.split()]

    def tree(self, oid: Oid) -> dict[bytes, Entry]:
        """Return the entries of a tree object, by name. Decoded once."""
        if oid not in self._trees:
            self._trees[oid] = decode_tree(self.read(oid))
        return self._trees[oid]

    def load_trees(self, roots: Iterable[Oid]) -> None:
        """Read some trees and all trees below them, those of one depth at once.

        Raises MissingObject.
        """
        waiting, seen = set(roots), set[Oid]()
        while waiting:
            unknown = [oid for oid in waiting if oid not in self._trees]
            bodies = self.read_many(unknown)
            for oid in unknown:
                if oid not in bodies:
                    raise MissingObject(self.git_dir, oid)
                self._trees[oid] = decode_tree(bodies[oid])
            seen |= waiting
            below = (entry for oid in waiting for entry in self._trees[oid].values())
            waiting = {entry.oid for entry in below if entry.is_tree} - seen

    def trees(self, root: Oid) -> dict[bytes, Oid]:
        """Return the ids of a tree and of all trees below it, by path (the root's is ``b""``)."""
        self.load_trees((root,))
        found: dict[bytes, Oid] = {}
        waiting = {b"": root}
        while waiting:
            found.update(waiting)
            waiting = {
                path + name + b"/": entry.oid
                for path, oid in waiting.items()
                for name, entry in self._trees[oid].items()
                if entry.is_tree
            }
        return found

    def flat(self, oid: Oid) -> dict[bytes, Entry]:
        """Return every file, link and submodule of a tree, by full path, sorted by path."""
        if oid not in self._flat:
            rows = {
                path + name: entry
                for path, tree in self.trees(oid).items()
                for name, entry in self._trees[tree].items()
                if not entry.is_tree
            }
            self._flat[oid] = dict(sorted(rows.items()))
        return dict(self._flat[oid])

    def write(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Store objects (type, body) in one pack: all of them or none, safe against ``kill -9``.

        Objects that exist are not written again.
        """
        batch = {hash_object(kind, body): (kind, body) for kind, body in objects}
        # Through the reader, which mostly runs already: another process costs as much as the pack.
        present = self.read_many(batch)
        pack = encode_pack([item for oid, item in batch.items() if oid not in present])
        (self.git_dir / WRITTEN).touch()  # gc spares what was just written or found here
        if pack is not None:
            index_pack(self.git_dir, pack)

    def _ask(
        self, oids: Iterable[Oid], question: Question
    ) -> Iterator[tuple[Oid, list[bytes], IO[bytes]]]:
        """Yield each object that exists: its id, its header, the stream with its body."""
        wanted = list(dict.fromkeys(oids))
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            option = _option(question)
            process = self._processes.get(option)
            if process is None or process.poll() is not None:
                process = self._processes[option] = self._start(option)
            assert process.stdin is not None
            assert process.stdout is not None
            before = f"{question} " if option == _BOTH else ""
            try:
                process.stdin.write("".join(f"{before}{oid}\n" for oid in chunk).encode())
                process.stdin.flush()
            except BrokenPipeError:
                code = process.wait()
                self.close()
                if _is_too_old(option, code):
                    yield from self._ask(chunk, question)
                    continue
                self._expect_start(option)
                text = f"{self.git_dir}: git cat-file ended with exit code {code}"
                raise PorterError(text) from None
            for oid in chunk:
                header = process.stdout.readline().split()
                if len(header) == 3:
                    yield oid, header, process.stdout
                    continue
                if not header and _is_too_old(option, process.wait()):
                    self.close()
                    yield from self._ask(chunk, question)  # it has answered nothing
                    break
                if not header:
                    self._expect_start(option)
                self._expect_missing(oid, header)

    def _start(self, option: str) -> subprocess.Popen[bytes]:
        if not (self.git_dir / "objects").is_dir():
            raise BadInput(f"{self.git_dir}: expected a git repository, found none")
        try:
            return subprocess.Popen(
                ["git", f"--git-dir={self.git_dir}", "cat-file", option],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=sealed_environment(self.git_dir),
            )
        except FileNotFoundError:
            raise PorterError(_NO_GIT) from None

    def _expect_start(self, option: str) -> None:
        """Raise PorterError where git does not even start on this repository, with its reason."""
        command = ["git", f"--git-dir={self.git_dir}", "cat-file", option]
        env = sealed_environment(self.git_dir)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=env)
        if done.returncode:
            self.close()
            reason = first_error(done.stderr.decode(errors="replace"))
            raise PorterError(f"{self.git_dir}: git cat-file: {reason}")

    def _expect_missing(self, oid: Oid, header: list[bytes]) -> None:
        if len(header) == 2 and header[1] == b"missing":
            return
        if not header:  # git ends when it cannot unpack an object
            raise self._damaged(oid)
        raise self._damaged(oid, b" ".join(header).decode(errors="replace"))

    def _damaged(self, oid: Oid, detail: str = "") -> CorruptSource:
        self.close()
        more = f" ({detail})" if detail else ""
        return CorruptSource(
            f"{self.git_dir}: object {oid} is damaged{more}; "
            f"`porter store verify --repair` fetches damaged objects again"
        )


_old: set[str] = set()  # options that the git here does not know


def _option(question: Question) -> str:
    return _ALONE[question] if _BOTH in _old else _BOTH


def _is_too_old(option: str, code: int) -> bool:
    """Whether git ended because it does not know an option that it can do without."""
    if option != _BOTH or code != _USAGE:
        return False
    _old.add(option)
    return True


def lay_out_repository(git_dir: Path, config: str, borrowed: Path | None = None) -> None:
    """Make ``git_dir`` an empty repository, or complete one; it may borrow another's objects.

    By hand: ``git init`` would copy the user's template folder and hooks into it, and read the
    user's variables and settings. An existing ``config`` or ``HEAD`` stays.
    """
    for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info"):
        (git_dir / name).mkdir(parents=True, exist_ok=True)
    if borrowed is not None:
        objects = os.fsencode(borrowed.absolute())
        write_atomic(git_dir / "objects" / "info" / "alternates", objects + b"\n")
    for name, text in (("config", config), ("HEAD", "ref: refs/heads/main\n")):
        if not (git_dir / name).exists():
            write_atomic(git_dir / name, text.encode())


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                pass
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def encode_pack(objects: list[tuple[str, bytes]]) -> bytes | None:
    """Return a version 2 pack of whole (undeltified) objects, or None for no objects."""
    if not objects:
        return None
    parts = [b"PACK" + (2).to_bytes(4, "big") + len(objects).to_bytes(4, "big")]
    for kind, body in objects:
        size = len(body)
        byte = _PACK_TYPES[kind] << 4 | size & 15
        size >>= 4
        header = bytearray()
        while size:
            header.append(byte | 0x80)
            byte = size & 0x7F
            size >>= 7
        header.append(byte)
        parts += [bytes(header), zlib.compress(body, 1)]
    pack = b"".join(parts)
    return pack + sha1(pack, usedforsecurity=False).digest()


def index_pack(git_dir: Path, pack: bytes) -> None:
    """Store a pack's bytes through ``git index-pack``, which hashes, syncs and renames it."""
    command = ["git", f"--git-dir={git_dir}", "index-pack", "--threads=1", "--stdin"]
    try:
        env = sealed_environment(git_dir)
        done = subprocess.run(command, input=pack, capture_output=True, env=env)
    except FileNotFoundError:
        raise PorterError(_NO_GIT) from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise PorterError(
            f"{git_dir}: cannot store objects: {lines[-1] if lines else '(no reason)'}"
        )
