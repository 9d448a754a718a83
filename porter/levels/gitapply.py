"""Run git's own ``apply`` for the diffs that the strict applier refuses.

Binary patches, symbolic links, sections that build on each other, hunks that moved, and the forms
that svn, hg, quilt and GNU diff write mean what git makes of them. git names the files that such a
patch touches (:func:`read_names`) and applies it on a temporary index. It then sees the files'
contents and no other object: it takes a binary patch's result from the repository where it finds
it there, and the verdict would depend on what else the store happens to hold.

Every repository made here has its own configuration and attributes only, uses no network and is
deleted afterwards; the store is only read.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from porter.errors import PorterError
from porter.git.objects import MODE_LINK, Entry, Oid, oid
from porter.git.odb import Odb, lay_out_repository, sealed_environment
from porter.git.quoting import show_path
from porter.git.run import first_error
from porter.levels.applier import FileChange, writable_name
from porter.scratch import make_scratch

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


_APPLY = ("apply", "--whitespace=nowarn", "-")
_DELETES = re.compile(rb"^ delete (?:mode \d{6} )?(.*)$", re.MULTILINE)
_POSTIMAGE = re.compile(rb"^index [0-9a-f]{40}\.\.([0-9a-f]{40})", re.MULTILINE | re.IGNORECASE)
_AT_LINE = re.compile(r"\bline (\d+)\b")
_BESIDE = "No valid patches in input"


class GitRefused(Exception):
    """git refuses the patch; the text is git's. ``line`` is the line that it names in it, or 0."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        at = _AT_LINE.search(text)
        self.line = int(at[1]) if at else 0


@dataclass(frozen=True, slots=True)
class Names:
    """The paths that a patch touches, as git reads it, and those of them that it deletes."""

    paths: AbstractSet[bytes]
    deleted: AbstractSet[bytes]


Held = Callable[[AbstractSet[Oid]], AbstractSet[Oid]]


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
            self._folder = make_scratch("apply")
            lay_out_repository(self._folder, _CONFIG, self._borrowed)
        return self._folder

    def put(
        self, kind: str, objects: Mapping[Oid, bytes], held: Held = lambda _: frozenset()
    ) -> None:
        """Make objects visible to git here, as loose objects.

        ``held`` returns which of some objects the store holds: writing a file for each of these
        would take most of the time in which a series of many levels is linted.
        """
        fresh = objects.keys() - self._put
        self._put |= fresh
        lacking = fresh - held(fresh) if fresh else fresh
        for name in lacking:
            path = self.folder / "objects" / name[:2] / name[2:]
            if path.exists():  # git made it, and made it read-only
                continue
            path.parent.mkdir(exist_ok=True)
            body = objects[name]
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


def read_names(raw: bytes) -> Names:
    """Return the paths in a patch file, read by git. Raises GitRefused for what git cannot read.

    ``--numstat`` gives the names after the patch, with ``-R`` those before it.
    """
    with Scratch(None) as alone:
        code, out, err = alone.git(*_APPLY, "--numstat", "--summary", "-z", data=raw, check=False)
        if code:
            raise _refusal(code, err)
        back = alone.git(*_APPLY, "--numstat", "-z", "-R", data=raw, check=False)[1]
    *after, summary = out.split(b"\0")
    new, old = (
        {row.split(b"\t", 2)[2] for row in rows} for rows in (after, back.split(b"\0")[:-1])
    )
    return Names(new | old, set(_DELETES.findall(summary)) | (old - new))


def _refusal(code: int, err: str) -> GitRefused:
    """Return git's complaints, all of them, in one line."""
    lines = [line.strip() for line in err.splitlines() if line.startswith(("error: ", "fatal: "))]
    words = [line.partition(": ")[2].rstrip(" :") for line in lines]
    said = [word for word in words if not word.startswith(_BESIDE)] or words
    return GitRefused("; ".join(said) or f"it ended with status {code}")


def postimages(scratch: Scratch, parent: Oid, raw: bytes) -> set[Oid]:
    """Return the files of ``parent`` that a binary part of the patch states as its result.

    git takes such a result from the repository, whatever the patch's data says.
    """
    if b"\nGIT binary patch" not in raw and b" differ" not in raw:
        return set()
    stated = {Oid(found.decode().lower()) for found in _POSTIMAGE.findall(raw)}
    rows = scratch.git("ls-tree", "-r", "-z", parent)[1].split(b"\0")[:-1]
    return stated & {Oid(row[: row.index(b"\t")].split(b" ")[2].decode()) for row in rows}


def apply_with_git(
    scratch: Scratch, parent: Oid, raw: bytes, names: Names, contents: Mapping[Oid, bytes]
) -> list[FileChange]:
    """Apply a patch file's bytes to the tree ``parent`` with ``git apply --cached``.

    git sees ``contents`` (those of the named files) and no other object. Raises GitRefused, also
    for what ``--cached`` accepts and ``--index`` refuses: a file that replaces a folder (or a
    folder a file) that the patch does not delete, and names and links that no file system can hold.
    """
    (scratch.folder / "index").unlink(missing_ok=True)
    scratch.git("read-tree", parent)
    with Scratch(None) as alone:
        alone.put("blob", contents)
        (scratch.folder / "index").replace(alone.folder / "index")
        code, _, err = alone.git(*_APPLY, "--cached", data=raw, check=False)
        if code:
            raise _refusal(code, err)
        (alone.folder / "index").replace(scratch.folder / "index")
        tree = scratch.git("write-tree", "--missing-ok")[1].decode().strip()
        listing = scratch.git("diff-tree", "-r", "-z", "--no-renames", parent, tree)[1]
        changes = list(_read_changes(listing))
        if clash := _unannounced(changes, names.deleted):
            raise GitRefused(f"{clash}: a file and a folder of the same name")
        changes = _with_contents(alone, changes)
    if bad := _unwritable(changes):
        raise GitRefused(f"{bad}: no file system can hold such a name or link")
    return changes


def _read_changes(listing: bytes) -> Iterable[FileChange]:
    fields = listing.split(b"\0")
    for head, path in zip(fields[0::2], fields[1::2], strict=False):
        _, mode, _, new, status = head.split(b" ")
        gone = status.startswith(b"D")
        yield FileChange(path, None if gone else Entry(int(mode, 8), oid(new.decode())))


def _unannounced(changes: list[FileChange], deleted: AbstractSet[bytes]) -> str | None:
    """Return a path that vanished only because a file or folder replaced it."""
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
