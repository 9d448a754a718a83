"""The file of a bundle: a tar whose first member, ``bundle.json``, names all others with hashes.

====================  ==============================================================
``objects/PIN.pack``  a git pack: the pinned commit, its trees, and files of it
``releases/FILE``     the archive of a source release that is a pin itself
``wheels/FILE.whl``   wheels of the probes' environments
``wheels/FILE.txt``   which of them make an environment, each with its hash
``project/PATH``      pins, series and recipes
====================  ==============================================================

A reader takes plain files with such names and the stated hashes, and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec

from porter.errors import BadInput, CorruptSource

MANIFEST = "bundle.json"
FORMAT = 1
_MOST_MANIFEST = 64 * 2**20
_NAMES = re.compile(
    r"objects/[a-z0-9][a-z0-9._-]*\.pack|releases/\w[\w.+-]*|wheels/\w[\w.+!-]*\.(whl|txt)"
    r"|project/(?:(?!\.{1,2}/|\.git/)[^/\0\\]+/)*(?!\.{1,2}$|\.git$)[^/\0\\]+"
)
_CHUNK = 2**20


class BundledPin(msgspec.Struct, frozen=True):
    """A pin of a bundle: how many of its wanted files are in it, and how many it wants."""

    commit: str
    tree: str
    release: str = ""
    covered: int = 0
    wanted: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """``bundle.json``. ``files``: path -> SHA-256. ``platforms``: those that wheels are for."""

    format: int
    porter: str
    ports: list[str]
    pins: dict[str, BundledPin]
    files: dict[str, str]
    python: str = ""
    platforms: list[str] = []
    environments: dict[str, list[str]] = {}


def write_bundle(path: Path, manifest: Manifest, files: Mapping[str, Path]) -> str:
    """Write a bundle, beside ``path`` and renamed; return its SHA-256. Raises OSError."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        with tarfile.open(fresh, "w", format=tarfile.PAX_FORMAT) as tar:
            text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
            _add(tar, MANIFEST, len(text), io.BytesIO(text))
            for name in sorted(files):
                with files[name].open("rb") as file:
                    _add(tar, name, files[name].stat().st_size, file)
        digest = file_hash(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return digest


def _add(tar: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    """Add a file without owner and time: the same files make the same bytes."""
    member = tarfile.TarInfo(name)
    member.size = size
    tar.addfile(member, content)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while data := file.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()


def unpack_bundle(path: Path, folder: Path) -> Manifest:
    """Write the files of a bundle below an empty folder, each compared with its hash.

    Raises BadInput for a file that is no bundle, and CorruptSource for one that is damaged or has
    a member with a name or of a kind that no bundle has.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            members = iter(tar)
            manifest = _manifest(path, tar, members)
            left = dict(manifest.files)
            for member in members:
                expected = left.pop(member.name, None)
                if expected is None or not member.isreg() or not _NAMES.fullmatch(member.name):
                    raise CorruptSource(
                        f"{path}: expected plain files that {MANIFEST} names, "
                        f"found {member.name[:100]!r}"
                    )
                _unpack(path, tar, member, folder / member.name, expected)
    except (tarfile.TarError, EOFError) as error:
        raise CorruptSource(f"{path}: expected a bundle, found a damaged one ({error})") from None
    if left:
        raise CorruptSource(f"{path}: {min(left)} is missing; the file ends early")
    return manifest


def _manifest(path: Path, tar: tarfile.TarFile, members: Iterator[tarfile.TarInfo]) -> Manifest:
    first = next(members, None)
    if first is None or first.name != MANIFEST or not first.isreg():
        raise BadInput(f"{path}: expected a file that `porter bundle` wrote, found another")
    content = tar.extractfile(first)
    assert content is not None  # a regular file
    try:
        manifest = msgspec.json.decode(content.read(_MOST_MANIFEST), type=Manifest)
    except (ValueError, RecursionError) as error:
        raise CorruptSource(f"{path}: {MANIFEST}: {error}") from None
    if manifest.format != FORMAT:
        raise BadInput(f"{path}: expected a bundle of format {FORMAT}, found {manifest.format}")
    return manifest


def _unpack(
    path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, expected: str
) -> None:
    content = tar.extractfile(member)
    assert content is not None  # a regular file
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("xb") as file:
        while data := content.read(_CHUNK):
            digest.update(data)
            file.write(data)
    if digest.hexdigest() != expected:
        raise CorruptSource(
            f"{path}: {member.name}: expected the hash {expected}, found {digest.hexdigest()}"
        )
