"""The pins file of a port on another upstream: commit, tree, submodules and releases."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

from porter.editing.pin_text import with_values
from porter.editing.replay import touched_paths
from porter.editing.stack import Commit, Git
from porter.editing.upstream_changes import change_notes, dependents, without_gone
from porter.errors import BadInput, PorterError
from porter.git.objects import MODE_SUBMODULE, Entry, Oid
from porter.places import PINS_FILE, patches_dir
from porter.scratch import scratch_folder
from porter.upstream.gitfetch import FetchFailed, Progress
from porter.upstream.needs import MEDIA_SUFFIXES
from porter.upstream.pins import (
    COMMIT,
    LISTING,
    Pin,
    Pins,
    listing_text,
    load_pins,
    parse_pins,
    tree_objects,
)
from porter.upstream.resolve import Address, Resolved, read_address, resolve
from porter.upstream.sdist import look_up_release
from porter.upstream.store import Upstream, fetch, open_upstream
from porter.upstream.wanted import LARGE_SUFFIXES

_VERSION = re.compile(r"v?(\d[0-9A-Za-z.!+_-]*)\Z")


@dataclass(frozen=True, slots=True)
class NewPins:
    """The pins file of a port after a move: its text, and what to tell the user."""

    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MovedPort:
    """A port on another ``upstream``, open in the store. ``pins.root`` has the pins file alone.

    ``files`` are those of the port's folder that belong to a pin, ``others`` those of its
    submodules' folders and the pins file, by path in the project.
    """

    pins: Pins
    pin: Pin
    upstream: Upstream
    files: Mapping[str, bytes | None]
    others: Mapping[str, bytes | None]

    @property
    def commit(self) -> Oid:
        return self.upstream.commit

    @property
    def listing(self) -> Mapping[bytes, Entry]:
        return self.upstream.listing()


def find_pins(
    root: Path, port: str, onto: str, url: str | None = None, progress: Progress | None = None
) -> NewPins:
    """Return the pins file in which ``port`` is at ``onto``: a branch, tag, commit or version.

    ``url`` names another repository than the pin's. The commit and its trees are in the store then.
    Raises BadInput when the upstream has no such commit, SourceUnavailable when it does not answer.
    """
    path = root / PINS_FILE
    pins, text = load_pins(root), path.read_text("utf-8")
    pin = pins.port(port)
    address = _address(pin, url, path)
    if address is None:
        text, version = _release_text(text, pin, onto, path, progress)
    else:
        found = _resolved(port, address, onto, progress)
        text = with_values(text, port, {("url",): address.url}, path) if url else text
        text = _at(text, port, (), found, path)
        version = found.ref or onto
    text, notes = _alternates(text, pin, version, path, progress)
    text, more, moved = _submodules(root, text, pins, pin, path, progress)
    return NewPins(text, (*notes, *more, *dependents(pins, port, moved)))


def _address(pin: Pin, url: str | None, path: Path) -> Address | None:
    """Return where the new commit is; None for a source release."""
    if url is None:
        return Address(pin.url) if pin.url else None
    address = read_address(url)
    if pin.url is None or not isinstance(address, Address):
        raise BadInput(f"{path}: --url needs a pin at a git repository, and a repository: {url}")
    return address


def _at(text: str, name: str, key: tuple[str | int, ...], found: Resolved, path: Path) -> str:
    """Return the pins file with a commit, of the pin or of an alternate, and a pin's tree."""
    commit = str(found.source.commit)
    comment = found.ref if found.ref != commit else ""
    text = with_values(text, name, {(*key, "commit"): commit}, path, comment)
    return text if key else with_values(text, name, {("tree",): str(found.tree)}, path)


def _resolved(port: str, address: Address, onto: str, progress: Progress | None) -> Resolved:
    """Resolve a name at the upstream; a version is looked for as a tag with `v` too."""
    try:
        return resolve(port, address, onto, progress)
    except BadInput:
        if not onto[:1].isdigit() or re.fullmatch(r"[0-9a-f]{7,40}", onto):
            raise
        try:
            return resolve(port, address, f"v{onto}", progress)
        except BadInput:
            pass
        raise


def _release_text(
    text: str, pin: Pin, version: str, path: Path, progress: Progress | None
) -> tuple[str, str]:
    """Return the pins file with another release, and the version in full."""
    assert pin.sdist is not None
    try:
        sdist, release = look_up_release(pin.sdist.name, version.removeprefix("v"), progress)
    except FetchFailed as error:
        raise BadInput(f"{pin.sdist.name} {version}: no source release: {error}") from None
    values: dict[tuple[str | int, ...], str] = {
        ("sdist", "version"): f'"{sdist.version}"',
        ("sdist", "sha256"): sdist.sha256,
        ("tree",): tree_objects(release.entries)[b""][0],
    }
    return with_values(text, pin.name, values, path), sdist.version


def _alternates(
    text: str, pin: Pin, onto: str, path: Path, progress: Progress | None
) -> tuple[str, list[str]]:
    """Move the other sources beside the pin to its version; say which stay behind."""
    notes = []
    version = _VERSION.match(onto)
    for number, each in enumerate(pin.alternates):
        if each.sdist is None:
            assert each.url is not None
            try:
                found = _resolved(pin.name, Address(each.url), onto, progress)
            except PorterError as error:
                notes.append(f"alternate {each.url} stays: {error}")
                continue
            text = _at(text, pin.name, ("alternates", number), found, path)
            continue
        key: tuple[str | int, ...] = ("alternates", number, "sdist")
        try:
            if version is None:
                raise FetchFailed("no version is known")
            sdist, _ = look_up_release(each.sdist.name, version[1], progress)
        except (FetchFailed, PorterError) as error:
            notes.append(f"alternate {each.sdist} stays: {error}")
            continue
        values = {(*key, "version"): f'"{sdist.version}"', (*key, "sha256"): sdist.sha256}
        text = with_values(text, pin.name, values, path)
    return text, notes


def _submodules(
    root: Path, text: str, pins: Pins, pin: Pin, path: Path, progress: Progress | None
) -> tuple[str, list[str], set[str]]:
    """Let the pin name what the new upstream has; return notes, and the submodules' pins moved."""
    with (
        open_upstream(root, pin, progress=progress) as old,
        moved_port(root, pin.name, text, progress=progress, complete=False) as moved,
    ):
        listing = moved.listing
        text, notes = without_gone(text, pin, old.listing(), listing)
        notes += change_notes(pin, old, moved.upstream)
    names: set[str] = set()
    for folder, name in pin.submodules.items():
        entry, sub = listing.get(os.fsencode(folder)), pins.pins[name]
        if entry is None or entry.mode != MODE_SUBMODULE or entry.oid == sub.commit:
            continue
        if sub.url is None:
            notes.append(f"submodule {folder}: the new upstream names commit {entry.oid}")
            continue
        found = resolve(name, Address(sub.url), entry.oid, progress)
        text = _at(text, name, (), found, path)
        notes.append(f"submodule {folder}: pin {name} moves to {entry.oid[:10]}")
        names.add(name)
    return text, notes, names


@contextmanager
def moved_port(
    root: Path,
    port: str,
    text: str,
    *,
    progress: Progress | None = None,
    complete: bool = True,
) -> Iterator[MovedPort]:
    """Open the port that the pins file ``text`` describes; fetch its files unless not ``complete``.

    Raises as :func:`porter.upstream.store.open_upstream`.
    """
    with scratch_folder("pins") as staged:
        (staged / PINS_FILE).write_text(text, "utf-8")
        pins = parse_pins(text.encode(), staged / PINS_FILE)
        pin = pins.port(port)
        if complete:
            fetch(staged, pin, progress=progress)
        with open_upstream(staged, pin, progress=progress) as upstream:
            files = _pin_files(root, staged, pins, pin)
            others: dict[str, bytes | None] = {PINS_FILE: text.encode()}
            for name in dict.fromkeys(pin.submodules.values()):
                if pins.pins[name] != load_pins(root).pins[name]:
                    made = _pin_files(root, staged, pins, pins.pins[name])
                    others |= {f"patches/{name}/{key}": made[key] for key in made}
            yield MovedPort(pins, pin, upstream, files, others)


def _pin_files(root: Path, staged: Path, pins: Pins, pin: Pin) -> dict[str, bytes | None]:
    """Return the new contents of a pin's own files, of those that its folder has."""
    folder = patches_dir(root, pin.name)
    contents: dict[str, bytes | None] = {}
    with open_upstream(staged, pins.pins[pin.name]) as upstream:
        if (folder / LISTING).is_file():
            contents[LISTING] = listing_text(upstream.listing())
        if (folder / COMMIT).is_file():
            contents[COMMIT] = upstream.odb.read(upstream.commit) if pin.commit else None
    return contents


def bring_for_replay(git: Git, base: Oid, commits: Sequence[Commit], moved: MovedPort) -> None:
    """Fetch what a replay of ``commits``, on the old upstream ``base``, reads of the new one: the
    files that they touch, and where one is gone, the new files but media and data, one of which may
    be it under another name.

    Raises SourceUnavailable, naming the files, when no source serves a touched one.
    """
    there = moved.listing
    names = git("ls-tree", "-r", "-z", "--name-only", base).fields()
    old = {os.fsencode(path) for path in names}
    touched = {os.fsencode(path) for path in touched_paths(git, commits)}
    needed = {there[path].oid for path in touched if path in there and there[path].is_blob}
    wanted = set(needed)
    if any(path in old and path not in there for path in touched):
        new = (path for path, entry in there.items() if path not in old and entry.is_blob)
        wanted |= {there[path].oid for path in new if _may_be_code(path)}
    failures = moved.upstream.bring(wanted)
    if lacking := needed - moved.upstream.present(needed):
        raise moved.upstream.not_served(lacking, failures)


def _may_be_code(path: bytes) -> bool:
    suffix = PurePath(os.fsdecode(path)).suffix.lower()
    return suffix not in MEDIA_SUFFIXES | LARGE_SUFFIXES
