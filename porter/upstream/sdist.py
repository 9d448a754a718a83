"""Download source releases (sdists) and read upstream files from them.

pip is the client: its configuration decides which index, proxy, certificate or folder serves the
archive. But pip reads an archive's metadata by running its build backend (``setup.py``), with build
requirements downloaded for it. porter needs the bytes only, so it puts a stand-in for every build
backend on pip's path, which returns the release's name and version. Nothing from an archive is
executed and nothing is built. pip compares the sha256 before it opens the archive; porter compares
it again.

Archives are read in memory, file by file, and only wanted blobs are kept. No file is written under
a name that an archive chose.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import InvalidSdistFilename, parse_sdist_filename

from porter.git.objects import MODE_EXEC, MODE_FILE, Entry, Oid, blob_id
from porter.scratch import scratch_folder
from porter.upstream.gitfetch import FetchFailed, Progress
from porter.upstream.pins import Sdist

_SIZE_LIMIT = 1 << 30  # bytes unpacked; a pinned release of Python code is far below
_STAND_IN = '''\
"""Stand-in for a build backend: names the release, builds nothing."""
import os
import re


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    name, version = os.environ["PORTER_SDIST"].split("==")
    if not version:  # pip has put the unpacked release into the working directory
        with open("PKG-INFO", encoding="utf-8", errors="replace") as file:
            version = re.search("(?m)^Version: *(.+?) *$", file.read())[1]
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    os.mkdir(os.path.join(metadata_directory, folder))
    with open(os.path.join(metadata_directory, folder, "METADATA"), "w") as file:
        file.write(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return folder


class __legacy__:
    get_requires_for_build_wheel = staticmethod(get_requires_for_build_wheel)
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)
'''
# pip names the backend that a release asks for, and its folder when the release brings its own, to
# the process that calls it: PEP517_BUILD_BACKEND or _PYPROJECT_HOOKS_BUILD_BACKEND.
_EVERY_BACKEND = """\
import os
import sys

for key, backend in list(os.environ.items()):
    if key.endswith("BACKEND_PATH"):
        del os.environ[key]
    elif key.endswith("BUILD_BACKEND"):
        from setuptools import build_meta

        module, _, inner = backend.partition(":")
        sys.modules[module] = build_meta
        for part in filter(None, inner.split(".")):
            if not hasattr(build_meta, part):
                setattr(build_meta, part, build_meta)
"""


@dataclass(frozen=True)
class Release:
    """The files of an opened source release: path -> entry, and contents by blob id."""

    entries: dict[bytes, Entry]
    blobs: dict[Oid, bytes]
    size: int


def bring_release(sdist: Sdist, wanted: set[Oid] | None, progress: Progress | None) -> Release:
    """Download a source release, check its sha256, and read it; keep the contents of ``wanted``.

    ``wanted`` None keeps all. Raises FetchFailed with the reason.
    """
    if progress:
        progress(f"{sdist.name} {sdist.version}: source release", 0, 0, 0)
    with scratch_folder(f"{sdist.name}-sdist") as folder:
        return read_release(download_release(sdist, folder), wanted)


def download_release(sdist: Sdist, folder: Path) -> Path:
    """Download a source release into a folder, check its sha256, and return the archive.

    Raises FetchFailed with the reason.
    """
    archive = _download(sdist.name, sdist.version, sdist.sha256, folder)
    check_archive(sdist, archive)
    return archive


def look_up_release(
    name: str, version: str | None, progress: Progress | None
) -> tuple[Sdist, Release]:
    """Download the source release of a package, the newest without ``version``, and read it.

    Raises FetchFailed, also when the index has no source release of it.
    """
    if progress:
        progress(f"{name} {version or ''}: source release", 0, 0, 0)
    with scratch_folder(f"{name}-sdist") as folder:
        archive = _download(name, version, None, folder)
        try:
            found = str(parse_sdist_filename(archive.name)[1])
        except InvalidSdistFilename:
            raise FetchFailed(f"expected NAME-VERSION.tar.gz, found {archive.name}") from None
        sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
        return Sdist(name, version or found, sha256), read_release(archive, None)


def check_archive(sdist: Sdist, archive: Path) -> None:
    """Raise FetchFailed unless the archive's sha256 is the pin's."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sdist.sha256:
        raise FetchFailed(f"expected an archive of sha256 {sdist.sha256}, found {found}")


def read_release(archive: Path, wanted: set[Oid] | None) -> Release:
    """Read a ``.tar.gz`` source release into memory, without its top folder.

    Raises FetchFailed for members that no source release needs: absolute paths, ``..``, links,
    devices, a file twice, files outside the one top folder; and for a damaged archive.
    """
    entries: dict[bytes, Entry] = {}
    blobs: dict[Oid, bytes] = {}
    try:
        for path, executable, content in _members(archive):
            if path in entries:
                raise FetchFailed(f"expected each file once, found {path.decode()!r} again")
            oid = blob_id(content)
            entries[path] = Entry(MODE_EXEC if executable else MODE_FILE, oid)
            if wanted is None or oid in wanted:
                blobs[oid] = content
    except (tarfile.TarError, EOFError, zlib.error, OSError, UnicodeError) as error:
        raise FetchFailed(f"expected a .tar.gz archive, found a damaged one ({error})") from None
    return Release(entries, blobs, archive.stat().st_size)


def _members(archive: Path) -> Iterator[tuple[bytes, bool, bytes]]:
    top: str | None = None
    total = 0
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            parts = _plain_parts(member)
            if top is None:
                top = parts[0]
            if parts[0] != top:
                raise FetchFailed(f"expected one top folder {top!r}, found {member.name!r}")
            if member.isdir():
                continue
            total += member.size
            if len(parts) < 2 or total > _SIZE_LIMIT:
                expected = (
                    "files below a top folder" if len(parts) < 2 else "at most 1 GiB of files"
                )
                raise FetchFailed(f"expected {expected}, found {member.name!r}")
            file = tar.extractfile(member)
            assert file is not None  # _plain_parts lets only regular files and folders pass
            content = file.read()
            if len(content) != member.size:
                raise EOFError(f"{member.name!r} ends early")
            yield "/".join(parts[1:]).encode(), bool(member.mode & 0o100), content


def _plain_parts(member: tarfile.TarInfo) -> list[str]:
    if not (member.isreg() or member.isdir()):
        kind = "a link" if member.issym() or member.islnk() else "a special file"
        raise FetchFailed(f"expected files and folders only, found {kind}: {member.name!r}")
    parts = member.name.rstrip("/").split("/")
    if parts[0] == "." and len(parts) > 1:
        parts = parts[1:]
    if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        raise FetchFailed(f"expected plain relative paths, found {member.name!r}")
    return parts


def _download(name: str, version: str | None, sha256: str | None, folder: Path) -> Path:
    """Let pip download a release, which must have ``sha256`` if that is given."""
    path = folder / "path"
    stand_in = path / "setuptools"
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").write_text("")
    (stand_in / "build_meta.py").write_text(_STAND_IN)
    (path / "sitecustomize.py").write_text(_EVERY_BACKEND)
    requirements = folder / "requirements.txt"
    asked = f"{name}=={version}" if version else name
    requirements.write_text(f"{asked} --hash=sha256:{sha256}\n" if sha256 else f"{asked}\n")
    arrived = folder / "archive"
    arrived.mkdir()
    command = [
        *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"),
        *("--no-deps", "--no-binary=:all:", "--ignore-requires-python"),
        *(("--require-hashes",) if sha256 else ()),
        *("--no-build-isolation", "--use-pep517", "--progress-bar=off"),
        *("--dest", str(arrived), "--requirement", str(requirements)),
    ]
    paths = [str(path), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PORTER_SDIST": f"{name}=={version or ''}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    env.setdefault("PIP_RETRIES", "2")  # other sources wait for this one
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        env=env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
    )
    files = list(arrived.iterdir())
    if done.returncode or len(files) != 1:
        raise FetchFailed(_reason(sha256, done.stdout + done.stderr))
    return files[0]


def _reason(sha256: str | None, output: str) -> str:
    """Reduce pip's output to one line."""
    if got := re.search(r"Got\s+([0-9a-f]{64})", output):
        return f"expected an archive of sha256 {sha256}, found {got[1]}"
    if "No module named pip" in output:
        return "no pip in this Python; `python -m ensurepip` installs it"
    if "Traceback (most recent call last)" in output:  # pip crashed: the last line names the error
        return f"pip: {output.strip().splitlines()[-1].strip()}"
    errors = [line[7:].strip() for line in output.splitlines() if line.startswith("ERROR: ")]
    warnings = [line[9:].strip() for line in output.splitlines() if line.startswith("WARNING: ")]
    retried = [line for line in warnings if line.startswith("Retrying")]
    if retried:
        cause = re.search(r"connection broken by '(.*?)(?:\(|'|$)", retried[-1])
        return f"pip could not reach its index ({cause[1] if cause else 'connection broken'})"
    text = (errors or warnings or output.strip().splitlines() or ["pip printed nothing"])[0]
    return re.sub(r"//[^/@\s]*@", "//", text)[:300]
