"""Read pins, which identify every upstream exactly.

``upstream_pins.yaml`` names, for each upstream, a git commit (or a source release by hash), the
tree id that both must have, further sources of the same bytes, and the wanted files. Two small
files beside the patches belong to a pin. They need no trust, because their hash must be the pin's:

- ``patches/<name>/upstream.listing``: the output of ``git ls-tree -r`` for the pinned tree. With it
  a machine that reaches only PyPI knows every tree object, so it can compute every level's tree id
  from the few blobs that patches touch.
- ``patches/<name>/upstream.commit``: the pinned commit object (author, date, subject), so that
  level commits have the same ids, and a work tree the same history, whatever the source.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta

from porter.errors import BadInput, CorruptSource
from porter.git.objects import MODE_TREE, Entry, Oid, encode_tree, hash_object
from porter.git.quoting import quote, read_path
from porter.places import PINS_FILE, cache_dir, patches_dir
from porter.project_change import settle_project
from porter.yamlfile import Document, examine, raise_all
from porter.yamlnodes import read_bytes

LISTING = "upstream.listing"
COMMIT = "upstream.commit"
_SHOWN_BY = "porter --verbose list"

Sha1Text = Annotated[
    Oid,
    Meta(
        pattern=r"^[0-9a-f]{40}$", description="40 lower-case hexadecimal digits (SHA-1, in full)"
    ),
]
Sha256Text = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{64}$", description="64 lower-case hexadecimal digits (SHA-256)")
]
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]*$"
NameText = Annotated[
    str,
    Meta(
        pattern=NAME_PATTERN,
        description="a name of a-z, 0-9, '.', '_' and '-' that starts with a letter or digit",
    ),
]
_SCHEMES = r"(https?|git|ssh)://"
_HOST_AND_PATH = r"[^\s@\-/:][^\s@]*"
URL_PATTERN = rf"^{_SCHEMES}([A-Za-z0-9_][A-Za-z0-9._-]*@)?{_HOST_AND_PATH}$|^file:///[^\s]*$"
UrlText = Annotated[
    str,
    Meta(
        pattern=URL_PATTERN,
        description="a URL of https://, http://, ssh://, git:// or file:///, without a password"
        " (credentials belong in git's credential helper)",
    ),
]
PackageText = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", description="a package name on PyPI"
    ),
]
VersionText = Annotated[
    str,
    Meta(pattern=r"^[0-9][0-9A-Za-z.!+_-]*$", description="a release version such as '0.18.1'"),
]
LicenseText = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9.()+ -]+$",
        description="an SPDX licence identifier, NONE when the upstream states none, or"
        " NOASSERTION when nobody has found out yet",
    ),
]
PathText = Annotated[
    str,
    Meta(
        pattern=r"^(?!/)(?!.*(^|/)\.{1,2}(/|$))[^\x00]+$",
        description="a path inside the upstream: relative, without '.' or '..' parts",
    ),
]


ContextNumber = Annotated[
    int,
    Meta(
        ge=1,
        le=3,
        description="lines of context in the port's patches: 3, or fewer where the upstream's"
        " licence leaves little room to repeat it (1 is the least that git apply takes)",
    ),
]


class Sdist(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A source release: package name, version, SHA-256 of the archive."""

    name: PackageText
    version: VersionText
    sha256: Sha256Text

    def __str__(self) -> str:
        return f"sdist {self.name} {self.version}"


@dataclass(frozen=True)
class GitSource:
    """A commit in a git repository."""

    url: str
    commit: Oid

    def __str__(self) -> str:
        return f"git {self.url}"


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Published weights: recorded, never downloaded. No ``sha256`` when none is published."""

    name: Annotated[str, Meta(min_length=1, description="a file name")]
    sha256: Sha256Text | None = None
    note: str = ""


class AlternateEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another source of the same bytes: ``sdist``, or ``url`` and ``commit``."""

    sdist: Sdist | None = None
    url: UrlText | None = None
    commit: Sha1Text | None = None


class PinEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One upstream in upstream_pins.yaml: ``url`` and ``commit``, or ``sdist``; and ``tree``."""

    tree: Sha1Text
    license: LicenseText
    url: UrlText | None = None
    commit: Sha1Text | None = None
    sdist: Sdist | None = None
    wanted: tuple[PathText, ...] = ()
    context: ContextNumber = 3
    submodules: dict[PathText, NameText] = {}
    companions: tuple[NameText, ...] = ()
    alternates: tuple[AlternateEntry, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()


class PinsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of upstream_pins.yaml."""

    version: Annotated[int, Meta(ge=1, le=1, description="1 (the format's version)")]
    pins: dict[NameText, PinEntry]


class Pin(PinEntry, frozen=True, kw_only=True, dict=True):
    """One upstream. ``url`` and ``commit`` are None when a source release is the pin itself."""

    name: str
    sources: tuple[Sdist | GitSource, ...]
    """Every source, the pin's own first."""

    @property
    def license_shown(self) -> str:
        return {"NONE": "none stated", "NOASSERTION": "not known"}.get(self.license, self.license)

    def wants(self, path: bytes) -> bool:
        """Return whether ``path`` is wanted: below ``dir/`` or an exact file; no wants mean all."""
        files, folders = self._wanted_bytes
        return not files or path in files or path.startswith(folders)

    @cached_property
    def _wanted_bytes(self) -> tuple[frozenset[bytes], tuple[bytes, ...]]:
        wants = [want.encode() for want in self.wanted]
        folders = tuple(want if want.endswith(b"/") else want + b"/" for want in wants)
        return frozenset(wants), folders


@dataclass(frozen=True)
class Pins:
    """Every pin of a project, by name."""

    root: Path
    pins: Mapping[str, Pin]

    def port(self, name: str) -> Pin:
        """Return a pin; BadInput, with the nearest name, when there is none."""
        if name in self.pins:
            return self.pins[name]
        near = difflib.get_close_matches(name, self.pins, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(self.pins)}"
        raise BadInput(f"{self.root / PINS_FILE}: no pin {name!r}{hint}")

    def ports(self) -> tuple[Pin, ...]:
        """Return the pins that have a patch series."""
        return tuple(
            pin
            for name, pin in self.pins.items()
            if (patches_dir(self.root, name) / "series").is_file()
        )

    def beside(self, pin: Pin) -> tuple[Pin, ...]:
        """Return the pins that a tree of ``pin`` needs: its submodules and companions."""
        names = dict.fromkeys((*pin.submodules.values(), *pin.companions))
        return tuple(self.pins[name] for name in names)


def load_pins(root: Path) -> Pins:
    """Read ``upstream_pins.yaml`` in ``root``.

    Raises BadInput for anything wrong: its line is the first problem and the number of the others,
    its ``detail`` lists all of them.
    """
    settle_project(root)
    path = root / PINS_FILE
    return parse_pins(read_bytes(path), path)


def parse_pins(data: bytes, path: Path) -> Pins:
    """Return the pins in the bytes of the pins file at ``path``, as :func:`load_pins` does."""
    document, problems = examine(data, path, PinsFile)
    entries = document.value.pins if document.value else {}
    named = {key[1] for key in document.lines if len(key) == 2 and key[0] == "pins"}
    pins = {}
    for name, entry in entries.items():
        sources, wrong = _sources(document, name, entry)
        pins[name] = Pin(name=name, sources=sources, **msgspec.structs.asdict(entry))
        others = [str(other) for other in named if other != name]
        problems += [*wrong, *_wrong_references(document, name, entry, others)]
    raise_all([_with_tree(problem, data, path.parent) for problem in problems], _SHOWN_BY)
    return Pins(path.parent, pins)


def _sources(
    document: Document[Any], name: str, entry: PinEntry
) -> tuple[tuple[Sdist | GitSource, ...], list[BadInput]]:
    """Return a pin's sources, its own first, and what is wrong with them."""
    key = ("pins", name)
    problems = []
    own = _source(entry)
    if own is None and entry.sdist is not None:
        problems.append(document.error(key, "'url' and 'commit', or 'sdist'", "both", words=True))
    elif own is None:
        missing = "commit" if entry.url else "url"
        expected = f"'url' and 'commit', or 'sdist' (no {missing!r} here)"
        problems.append(document.error(key, expected, "neither"))
    sources = [own] if own else []
    for index, other in enumerate(entry.alternates):
        at, source = (*key, "alternates", index), _source(other)
        if source is None:
            expected = "either 'sdist', or 'url' and 'commit'"
            problems.append(document.error(at, expected, "another combination", words=True))
        elif str(source) in map(str, sources):
            problems.append(document.error(at, "each source once", str(source)))
        else:
            sources.append(source)
    return tuple(sources), problems


def _wrong_references(
    document: Document[Any], name: str, entry: PinEntry, others: Sequence[str]
) -> list[BadInput]:
    expected = f"the name of another pin ({', '.join(others)})"
    return [
        document.error(("pins", name, kind, key), expected, other)
        for kind, rows in (
            ("submodules", entry.submodules.items()),
            ("companions", enumerate(entry.companions)),
        )
        for key, other in rows
        if other not in others
    ]


_NO_TREE = re.compile(r": pins\.(\S+): expected the key 'tree', found none$")


def _with_tree(problem: BadInput, data: bytes, root: Path) -> BadInput:
    """Add the tree id to the message of a pin that lacks it, if it is known here."""
    found = _NO_TREE.search(str(problem))
    if found is None:
        return problem
    entry = yaml.load(data, yaml.BaseLoader)["pins"][found[1]]
    commit = entry.get("commit", "COMMIT")
    tree = _known_tree(root, found[1], commit)
    hint = f"`tree: {tree}`" if tree else f"`git rev-parse {commit}^{{tree}}` in a clone prints it"
    return BadInput(f"{problem}; {hint}")


def _known_tree(root: Path, name: str, commit: str) -> str | None:
    """Return the tree of a commit that the project's files or the store hold."""
    from porter.git.odb import Odb

    with suppress(FileNotFoundError):
        body = (patches_dir(root, name) / COMMIT).read_bytes()
        if hash_object("commit", body) == commit:
            return tree_of_commit(body)
    git_dir = cache_dir() / "store" / f"{name}.git"
    if not (git_dir / "objects").is_dir() or not re.fullmatch("[0-9a-f]{40}", commit):
        return None
    with Odb(git_dir) as odb:
        kept = odb.read_many((Oid(commit),))
    return tree_of_commit(kept[Oid(commit)]) if kept else None


def tree_of_commit(body: bytes) -> Oid:
    """Return the tree that a commit's body names."""
    return Oid(body.split(b"\n", 1)[0].removeprefix(b"tree ").decode(errors="replace"))


def _source(entry: PinEntry | AlternateEntry) -> Sdist | GitSource | None:
    """Return the one source that an entry names; None for none and for two."""
    if entry.url and entry.commit and entry.sdist is None:
        return GitSource(entry.url, entry.commit)
    return None if entry.url or entry.commit else entry.sdist


_ROW = re.compile(rb"\A([0-7]{6}) (?:blob|commit) ([0-9a-f]{40})\t(.+)\Z")


def read_listing(root: Path, pin: Pin) -> dict[bytes, Entry] | None:
    """Return ``patches/<pin>/upstream.listing`` as path -> entry, or None when the pin has none.

    Raises CorruptSource when its tree id is not the pin's, BadInput for a malformed line.
    """
    path = patches_dir(root, pin.name) / LISTING
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    entries = parse_listing(data, path)
    found = tree_objects(entries)[b""][0]
    if found != pin.tree:
        raise CorruptSource(
            f"{path}: expected the listing of tree {pin.tree}, found one of tree {found}; "
            f"`git ls-tree -r {pin.tree}` prints the right one"
        )
    return entries


def parse_listing(data: bytes, path: Path) -> dict[bytes, Entry]:
    """Return the rows of ``git ls-tree -r`` output. ``path`` is named in errors."""
    entries: dict[bytes, Entry] = {}
    for number, line in enumerate(data.splitlines(), 1):
        try:
            mode, oid, quoted = _ROW.findall(line)[0]
            name = read_path(quoted)
        except (IndexError, ValueError):
            raise BadInput(
                f"{path}:{number}: expected 'MODE TYPE ID<tab>PATH' as git ls-tree prints, "
                f"found {line[:60].decode(errors='replace')!r}"
            ) from None
        if name in entries:
            raise BadInput(f"{path}:{number}: expected each path once, found {name!r} again")
        entries[name] = Entry(int(mode, 8), Oid(oid.decode()))
    return entries


def listing_text(entries: Mapping[bytes, Entry]) -> bytes:
    """Return entries as ``git ls-tree -r`` prints them."""
    return b"".join(
        b"%06o %s %s\t%s\n"
        % (entry.mode, b"blob" if entry.is_blob else b"commit", entry.oid.encode(), quote(path))
        for path, entry in sorted(entries.items())
    )


def tree_objects(entries: Mapping[bytes, Entry]) -> dict[bytes, tuple[Oid, bytes]]:
    """Return id and body of every tree that holds ``entries``, by folder (the root is b"")."""
    folders: dict[bytes, list[tuple[bytes, Entry]]] = {b"": []}
    for path, entry in entries.items():
        parent, _, name = path.rpartition(b"/")
        folders.setdefault(parent, []).append((name, entry))
        while parent and parent.rpartition(b"/")[0] not in folders:
            parent = parent.rpartition(b"/")[0]
            folders[parent] = []
    made: dict[bytes, tuple[Oid, bytes]] = {}
    for folder in sorted(folders, key=lambda name: name.count(b"/") if name else -1, reverse=True):
        body = encode_tree(folders[folder])
        made[folder] = (hash_object("tree", body), body)
        if folder:
            parent, _, name = folder.rpartition(b"/")
            folders[parent].append((name, Entry(MODE_TREE, made[folder][0])))
    return made


def read_commit(root: Path, pin: Pin) -> bytes | None:
    """Return ``patches/<pin>/upstream.commit``, the body of the pinned commit, or None without one.

    Raises CorruptSource when its hash is not the pin's commit.
    """
    if pin.commit is None:
        return None
    path = patches_dir(root, pin.name) / COMMIT
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        return None
    found = hash_object("commit", body)
    if found != pin.commit:
        raise CorruptSource(
            f"{path}: expected commit object {pin.commit}, found {found}; "
            f"`git cat-file commit {pin.commit}` prints the right one"
        )
    return body
