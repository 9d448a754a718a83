"""Read the files of a tree that is no level of a port: a folder, or a git revision.

A folder counts as git would add it: tracked files, and untracked ones that are not ignored, with
the bytes on disk (no filter runs). Folders and repositories are only read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from porter.errors import BadInput
from porter.git.objects import MODE_EXEC, MODE_FILE, MODE_LINK, Entry, Oid, blob_id
from porter.git.odb import MissingObject, Odb, lay_out_repository
from porter.git.run import Answer, first_error, run_git
from porter.scratch import scratch_folder

LEFTOVERS = ("__pycache__/", "*.py[co]", ".*_cache/", ".ipynb_checkpoints/", ".venv/", ".DS_Store")
"""What running code leaves behind: not part of a tree unless git tracks it."""
_CHUNK = 2**20
_BARE = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"

Files = Mapping[bytes, Entry]
Read = Callable[[Files], dict[Oid, bytes]]


@dataclass(frozen=True)
class ForeignFiles:
    """A tree's files and submodules by path. ``name`` is short, ``source`` is DIR or DIR@REV.

    ``read`` returns the contents of some of them; those that the repository lacks are left out. It
    raises BadInput for a file that changed since it was listed.
    """

    name: str
    source: str
    entries: Files
    read: Read


def open_files(text: str, here: Path) -> ForeignFiles:
    """Read the tree that ``text`` names: DIR, DIR@REV, or REV in the repository around ``here``.

    Raises BadInput for anything else, for a tree without files, and for a file that cannot be read.
    """
    folder, revision = split_tree(text)
    if revision is None:
        assert folder is not None
        found = _of_folder(text, folder)
    else:
        found = _of_revision(text, folder, revision, here)
    if not any(entry.is_blob for entry in found.entries.values()):
        raise BadInput(f"--tree {text}: expected a tree with files, found none")
    return found


def names_files(text: str) -> bool:
    """Whether ``text`` is a folder's path, or one with ``@REV`` behind it."""
    return split_tree(text)[0] is not None


def is_below_a_file(path: bytes, entries: Files) -> bool:
    """Whether a folder of ``path`` is a file, link or submodule among ``entries``."""
    parts = path.split(b"/")
    return any(b"/".join(parts[:depth]) in entries for depth in range(1, len(parts)))


def split_tree(text: str) -> tuple[Path | None, str | None]:
    """Split DIR, DIR@REV or REV into folder and revision; one of them may be None."""
    if (folder := Path(text).expanduser()).is_dir():
        return folder, None
    for at, char in enumerate(text):
        if char == "@" and at and (folder := Path(text[:at]).expanduser()).is_dir():
            return folder, text[at + 1 :]
    return None, text


# -- a folder -------------------------------------------------------------------------------------


def _of_folder(text: str, folder: Path) -> ForeignFiles:
    root = folder.absolute()
    try:
        found = dict(sorted(_entries(root, b"")))
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else text
        raise BadInput(f"--tree {text}: {where}: {error.strerror}") from error

    # A folder that became a link: git no longer sees what it tracked in it.
    entries = {path: entry for path, entry in found.items() if not is_below_a_file(path, found)}

    def read(files: Files) -> dict[Oid, bytes]:
        return dict(_contents(root, files))

    return ForeignFiles(root.resolve().name or "root", text, entries, read)


def _entries(root: Path, before: bytes) -> Iterator[tuple[bytes, Entry]]:
    """Yield the files of a folder; the paths of a repository inside it begin with ``before``."""
    tracked, untracked = _listed(root)
    for path in dict.fromkeys((*tracked, *untracked)):
        file = root / os.fsdecode(path)
        known = tracked.get(path)
        try:
            mode = file.lstat().st_mode
        except FileNotFoundError:
            if known is not None and known.is_absent_on_purpose:
                yield before + path, known.entry
            continue
        if stat.S_ISDIR(mode):
            inside = path.rstrip(b"/") + b"/"
            if (file / ".git").exists():
                yield from _entries(file, before + inside)
            elif known is not None and not known.entry.is_blob:
                yield before + path, known.entry  # a submodule that is not checked out
        elif stat.S_ISLNK(mode):
            yield before + path, Entry(MODE_LINK, blob_id(os.fsencode(file.readlink())))
        elif stat.S_ISREG(mode):
            executable = mode & stat.S_IXUSR
            yield before + path, Entry(MODE_EXEC if executable else MODE_FILE, _hash(file))


@dataclass(frozen=True)
class _Tracked:
    """A row of git's index; ``is_absent_on_purpose``: outside a sparse checkout."""

    entry: Entry
    is_absent_on_purpose: bool


def _listed(root: Path) -> tuple[dict[bytes, _Tracked], list[bytes]]:
    """Return the tracked files below a folder, and the untracked ones that are not ignored."""
    others = ["ls-files", "-z", "--others", "--exclude-standard"]
    others += [f"--exclude={pattern}" for pattern in LEFTOVERS]
    if not _is_in_repository(root):
        with scratch_folder("tree") as scratch:
            git_dir = scratch / "git"
            lay_out_repository(git_dir, _BARE)
            outside = [f"--git-dir={git_dir}", f"--work-tree={root}", "-c", "core.bare=false"]
            return {}, run_git([*outside, *others], cwd=root).out.split(b"\0")[:-1]
    tracked = {}
    for row in run_git(["ls-files", "-z", "-t", "--stage"], cwd=root).out.split(b"\0")[:-1]:
        meta, _, path = row.partition(b"\t")
        tag, mode, oid, _ = meta.decode().split(" ")
        tracked[path] = _Tracked(Entry(int(mode, 8), Oid(oid)), tag == "S")
    return tracked, run_git(others, cwd=root).out.split(b"\0")[:-1]


def _is_in_repository(root: Path) -> bool:
    """Whether a folder's files are those of a repository, which does not ignore it as a whole."""
    found = run_git(["rev-parse", "--is-inside-work-tree"], cwd=root, check=False)
    if found.status != 0:
        return False
    if found.text != "true":
        raise BadInput(
            f"--tree {root}: expected a work tree, found a repository's own folder; "
            f"{root}@HEAD names its newest revision"
        )
    return run_git(["check-ignore", "-q", "."], cwd=root, check=False).status != 0


def _hash(file: Path) -> Oid:
    digest = hashlib.sha1(usedforsecurity=False)
    with file.open("rb") as stream:
        digest.update(b"blob %d\0" % os.fstat(stream.fileno()).st_size)
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return Oid(digest.hexdigest())


def _contents(root: Path, files: Files) -> Iterator[tuple[Oid, bytes]]:
    for path, entry in files.items():
        file = root / os.fsdecode(path)
        try:
            is_link = entry.mode == MODE_LINK
            content = os.fsencode(file.readlink()) if is_link else file.read_bytes()
        except FileNotFoundError:
            continue  # outside a sparse checkout
        except OSError as error:
            raise BadInput(f"--tree: {file}: {error.strerror}") from error
        if blob_id(content) != entry.oid:
            raise BadInput(f"--tree: {file}: it changed while porter read the tree; run it again")
        yield entry.oid, content


# -- a revision -----------------------------------------------------------------------------------


def _of_revision(text: str, folder: Path | None, revision: str, here: Path) -> ForeignFiles:
    at = here if folder is None else folder
    where = _git(at, "rev-parse", "--git-common-dir", "--show-prefix", "--show-object-format")
    if where.status != 0:
        if folder is None:
            raise BadInput(
                f"--tree {text}: expected a folder, DIR@REV or a git revision, found no such "
                f"folder, and {at}: {first_error(where.err)}"
            )
        raise BadInput(f"--tree {text}: {folder}: {first_error(where.err)}")
    git_dir, *prefix, form = where.text.split("\n")
    if form != "sha1":
        raise BadInput(f"--tree {text}: expected a repository with SHA-1 ids, found {form}")
    inside = prefix[0] if folder is not None and prefix else ""
    named = f"{revision}:{inside}" if inside else f"{revision}^{{tree}}"
    found = _git(at, "rev-parse", "--verify", "--quiet", "--end-of-options", named)
    if found.status != 0:
        what = f"a revision of {at}" if folder is not None else "a folder, or a revision of here"
        more = f" with {inside}" if inside else ""
        raise BadInput(f"--tree {text}: expected {what}{more}, found none of this name")
    objects = (at / git_dir).absolute()

    def read(files: Files) -> dict[Oid, bytes]:
        with Odb(objects) as odb:
            return odb.read_many(dict.fromkeys(entry.oid for entry in files.values()))

    try:
        with Odb(objects) as odb:
            entries = odb.flat(Oid(found.text))
    except MissingObject as error:
        raise BadInput(f"--tree {text}: {error} (a partial clone)") from error
    top = at.resolve()
    if folder is None:
        top = Path(_git(at, "rev-parse", "--show-toplevel").text or at)
    source = text if folder is not None else f"{os.path.relpath(top)}@{revision}"
    name = revision if folder is None else f"{top.name}@{revision}"
    return ForeignFiles(name, source, entries, read)


def _git(at: Path, *arguments: str) -> Answer:
    return run_git(list(arguments), cwd=at, check=False)
