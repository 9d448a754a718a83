"""Run git's own ``apply`` for the diffs that the strict applier refuses.

Binary patches, symbolic links, sections that build on each other and hunks that moved mean what git
makes of them. So git applies them, on a temporary index in a scratch repository that borrows the
store's objects. The scratch repository has its own configuration and attributes only, uses no
network and is deleted afterwards; the store is only read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from porter.errors import PorterError
from porter.git.objects import MODE_LINK, Entry, Oid, oid
from porter.git.odb import Odb, lay_out_repository
from porter.git.quoting import show_path
from porter.git.run import first_error
from porter.levels.applier import FileChange, writable_name
from porter.series.diff import Diff

_CONFIG = """[core]
\trepositoryFormatVersion = 0
\tbare = true
\tattributesFile = /dev/null
\texcludesFile = /dev/null
\tquotePath = true
[diff]
\trenames = false
"""


LONGEST_LINK = 4096
"""PATH_MAX of Linux and most others, its NUL included."""


class GitRefused(Exception):
    """git refuses the patch; the text is git's, one line per complaint."""


class Scratch:
    """A temporary repository that sees the store's objects and those put into it."""

    def __init__(self, objects: Path | None) -> None:
        self._borrowed = objects
        self._folder: Path | None = None
        self._put: set[Oid] = set()

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the repository."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def folder(self) -> Path:
        """The repository, made on first use (most series never need it)."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="porter-apply-"))
            lay_out_repository(self._folder, _CONFIG, self._borrowed)
        return self._folder

    def put(self, kind: str, objects: Mapping[Oid, bytes]) -> None:
        """Make objects visible to git here, as loose objects."""
        for name, body in objects.items():
            if name in self._put:
                continue
            path = self.folder / "objects" / name[:2] / name[2:]
            self._put.add(name)
            if path.exists():  # git made it, and made it read-only
                continue
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(zlib.compress(b"%s %d\0" % (kind.encode(), len(body)) + body, 1))

    def git(self, *args: str, data: bytes = b"", check: bool = True) -> tuple[int, bytes, str]:
        """Run git here: (status, stdout, stderr). With ``check``, a failure is a PorterError."""
        done = subprocess.run(
            ["git", *args],
            input=data,
            capture_output=True,
            env=sealed_environment(self.folder),
            cwd=self.folder,
        )
        err = done.stderr.decode("utf-8", "replace").strip()
        if check and done.returncode:
            raise PorterError(f"git {args[0]} failed: {first_error(err)}")
        return done.returncode, done.stdout, err


def sealed_environment(git_dir: Path) -> dict[str, str]:
    """Return an environment in which git sees no configuration and no other repository."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
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
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }


def apply_with_git(scratch: Scratch, parent: Oid, raw: bytes, diff: Diff) -> list[FileChange]:
    """Apply a patch file's bytes to the tree ``parent`` with ``git apply --cached``.

    Raises GitRefused, also for what ``--cached`` accepts and ``--index`` refuses: a file that
    replaces a folder (or a folder a file) that the patch does not delete, and names and links that
    no file system can hold.
    """
    for name in ("index", "index.lock"):  # git crashes on some broken patches and leaves a lock
        (scratch.folder / name).unlink(missing_ok=True)
    scratch.git("read-tree", parent)
    code, _, err = scratch.git(
        "apply", "--cached", "--whitespace=nowarn", "-", data=raw, check=False
    )
    if code:
        raise GitRefused(err or f"git apply ended with status {code}")
    tree = scratch.git("write-tree", "--missing-ok")[1].decode().strip()
    listing = scratch.git("diff-tree", "-r", "-z", "--no-renames", parent, tree)[1]
    changes = list(_read_changes(listing))
    if clash := _unannounced(changes, diff):
        raise GitRefused(f"{clash!r}: a file and a folder of the same name")
    changes = _with_contents(scratch, changes)
    if bad := _unwritable(changes):
        raise GitRefused(f"{bad}: no file system can hold such a name or link")
    return changes


def _read_changes(listing: bytes) -> Iterable[FileChange]:
    fields = listing.split(b"\0")
    for head, path in zip(fields[0::2], fields[1::2], strict=False):
        _, mode, _, new, status = head.split(b" ")
        gone = status.startswith(b"D")
        yield FileChange(path, None if gone else Entry(int(mode, 8), oid(new.decode())))


def _unannounced(changes: list[FileChange], diff: Diff) -> str | None:
    """Return a path that vanished only because a file or folder replaced it."""
    deleted = {file.old_path for file in diff.files if file.kind in ("delete", "rename")}
    added = [change.path for change in changes if change.entry is not None]
    for change in changes:
        if change.entry is None and change.path not in deleted:
            path = change.path
            if any(a.startswith(path + b"/") or path.startswith(a + b"/") for a in added):
                return show_path(path)
    return None


def _unwritable(changes: list[FileChange]) -> str | None:
    """Return a path that no work tree can hold: an empty link, a name that is too long."""
    for change in changes:
        if change.entry is None:
            continue
        link = change.entry.mode == MODE_LINK and change.content is not None
        size = len(change.content or b"") if link else 1
        if not 0 < size < LONGEST_LINK or not writable_name(change.path):
            return show_path(change.path)
    return None


def _with_contents(scratch: Scratch, changes: list[FileChange]) -> list[FileChange]:
    wanted = [c.entry.oid for c in changes if c.entry is not None and c.entry.is_blob]
    if not wanted:
        return changes
    with Odb(scratch.folder) as odb:
        contents = odb.read_many(wanted)
    return [
        c if c.entry is None else FileChange(c.path, c.entry, contents.get(c.entry.oid))
        for c in changes
    ]
