"""Propose the pin of an upstream: licence, wanted files, submodules, a release of the same bytes.

Everything is read from the store; what a person must decide is left as a note.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from porter.errors import BadInput, PorterError
from porter.git.objects import MODE_SUBMODULE, Entry, Oid
from porter.git.odb import git_environment
from porter.git.quoting import show_path
from porter.terminal import listed
from porter.upstream import metadata
from porter.upstream.failure import source_failure
from porter.upstream.gitfetch import FetchFailed, Progress
from porter.upstream.licence import FILE_NAME, NOASSERTION, Licence, licence_of
from porter.upstream.metadata import Metadata, read_metadata
from porter.upstream.pins import Pin, Sdist, tree_objects
from porter.upstream.resolve import (
    Address,
    Resolved,
    default_name,
    expect_online,
    not_reachable,
    resolve,
    submodule_url,
)
from porter.upstream.sdist import Release, look_up_release
from porter.upstream.store import Upstream, open_upstream
from porter.upstream.wanted import propose_wanted

LEAST_SHARE = 0.1
"""A release that covers fewer of the wanted files is not worth naming."""


@dataclass(frozen=True)
class Covering:
    """A source release, and how many of the wanted files it holds."""

    sdist: Sdist
    covered: int
    wanted: int


@dataclass(frozen=True)
class Proposal:
    """A pin to be, and what else was found out. ``ref`` is the name that led to the commit.

    ``files`` are the contents of wanted Python files and of the files at the top, by path.
    """

    pin: Pin
    ref: str
    licence: Licence
    listing: Mapping[bytes, Entry]
    commit_body: bytes | None
    facts: Metadata
    files: Mapping[str, bytes]
    release: Covering | None = None
    notes: tuple[str, ...] = ()

    @property
    def left_out(self) -> list[str]:
        """The files that the proposal does not want."""
        return [
            os.fsdecode(path)
            for path, entry in self.listing.items()
            if entry.is_blob and not self.pin.wants(path)
        ]


@dataclass
class Proposer:
    """Makes the proposals of one upstream and its submodules. ``taken`` are the names in use."""

    root: Path
    taken: dict[str, Pin]
    progress: Progress | None = None
    others: list[Proposal] = field(default_factory=list)
    """The proposals for its submodules."""

    def of_git(self, name: str, address: Address, ref: str | None) -> Proposal:
        """Return the proposal for a git repository at ``ref``.

        Raises SourceUnavailable when it does not answer, BadInput when it has no such commit.
        """
        found = resolve(name, address, ref, self.progress)
        self.taken[name] = bare = _bare(name, found)
        with open_upstream(self.root, bare, progress=self.progress) as upstream:
            submodules, notes = self._submodules(upstream, found)
            own = self._examine(upstream, found.ref)
        pin = _changed(own.pin, submodules=submodules)
        release, said = self._release(own, address)
        if address.is_local:
            notes.append(f"only this machine has {address.url}; `url` can name a host later")
        alternates = (release.sdist,) if release else ()
        pin = _changed(pin, sources=(*pin.sources, *alternates))
        return replace(own, pin=pin, release=release, notes=(*own.notes, *notes, *said))

    def of_release(self, name: str, package: str, version: str | None) -> Proposal:
        """Return the proposal for a source release. Raises BadInput or SourceUnavailable."""
        expect_online(package)
        try:
            sdist, release = look_up_release(package, version, self.progress)
        except FetchFailed as error:
            failure = source_failure(Sdist(package, version or "source release", ""), str(error))
            if not failure.away or "has no" in failure.reason:
                raise BadInput(f"{package}: {failure.reason}") from None
            raise not_reachable(package, failure) from None
        tree = tree_objects(release.entries)[b""][0]
        pin = Pin(name=name, tree=tree, license=NOASSERTION, sdist=sdist, sources=(sdist,))
        self.taken[name] = pin
        with open_upstream(self.root, pin, progress=self.progress) as upstream:
            return self._examine(upstream, "")

    def _examine(self, upstream: Upstream, ref: str) -> Proposal:
        listing = upstream.listing()
        pin = _changed(upstream.pin, wanted=propose_wanted(listing))
        covered = upstream.cover(
            {path: e.oid for path, e in listing.items() if e.is_blob and pin.wants(path)}
        )
        read = {path: entry.oid for path, entry in listing.items() if _is_read(path, pin)}
        bodies = upstream.odb.read_many([*read.values(), upstream.commit])
        files = {os.fsdecode(p): bodies[oid] for p, oid in read.items() if oid in bodies}
        facts = read_metadata(files)
        licence = licence_of(
            {name: text for name, text in files.items() if FILE_NAME.fullmatch(name)},
            facts.license,
            next((text for name, text in files.items() if name.lower().startswith("readme")), b""),
        )
        missing = ""
        if covered.missing:
            names = listed((show_path(path) for path in covered.missing), 3)
            missing = f"no source serves {names}, which `wanted` names"
        return Proposal(
            pin=_changed(pin, license=licence.id),
            ref=ref,
            licence=licence,
            listing=listing,
            commit_body=bodies.get(upstream.commit) if pin.commit else None,
            facts=facts,
            files=files,
            notes=(missing,) if missing else (),
        )

    def _submodules(self, upstream: Upstream, found: Resolved) -> tuple[dict[str, str], list[str]]:
        """Pin every submodule; return the pins' names by path, and notes on those left unpinned."""
        names: dict[str, str] = {}
        notes = []
        urls = _gitmodules(upstream)
        for path, entry in upstream.listing().items():
            if entry.mode != MODE_SUBMODULE:
                continue
            where = os.fsdecode(path)
            if where not in urls:
                notes.append(f"submodule {where}: .gitmodules names no URL; it is left out")
                continue
            url = submodule_url(urls[where], found.source.url)
            try:
                names[where] = self._pin_submodule(upstream.pin.name, url, entry.oid)
            except PorterError as error:
                notes.append(f"submodule {where}: not pinned: {error}")
        return names, notes

    def _pin_submodule(self, port: str, url: str, commit: Oid) -> str:
        for pin in self.taken.values():
            if pin.commit == commit:
                return pin.name
        address = Address(url)
        name = default_name(address)
        if name in self.taken:
            name = f"{port}-{name}"
        found = resolve(name, address, commit, self.progress)
        with open_upstream(self.root, _bare(name, found), progress=self.progress) as upstream:
            proposal = self._examine(upstream, found.ref)
        self.taken[name] = proposal.pin
        self.others.append(proposal)
        return name

    def _release(self, own: Proposal, address: Address) -> tuple[Covering | None, tuple[str, ...]]:
        """Look for a release with the same bytes: of the stated version, else the newest."""
        version = own.facts.version or _version(own.files)
        own_name = "" if address.is_local else address.name  # an index need not hear of it
        names = {canonicalize_name(n): n for n in (own_name, own.facts.name) if n}
        notes = []
        for name in reversed(names.values()):
            try:
                sdist, release = self._newest(name, version)
            except FetchFailed as error:
                reason = source_failure(Sdist(name, "source release", ""), str(error)).reason
                notes.append(f"release: {reason}")
                continue
            oids = {entry.oid for entry in release.entries.values()}
            wanted = [
                entry.oid
                for path, entry in own.listing.items()
                if entry.is_blob and own.pin.wants(path)
            ]
            covered = sum(oid in oids for oid in wanted)
            if covered >= max(LEAST_SHARE * len(wanted), 1) and _shares_code(own, oids):
                return Covering(sdist, covered, len(wanted)), ()
            notes.append(
                f"release: {sdist} holds {covered} of {len(wanted)} wanted files: not used"
            )
        return None, tuple(notes)

    def _newest(self, name: str, version: str | None) -> tuple[Sdist, Release]:
        if version is not None:
            try:
                return look_up_release(name, version, self.progress)
            except FetchFailed as error:
                if "no such release" not in source_failure(None, str(error)).reason:
                    raise
        return look_up_release(name, None, self.progress)


def _bare(name: str, found: Resolved) -> Pin:
    source = found.source
    return Pin(
        name=name, tree=found.tree, license=NOASSERTION, sources=(source,),
        url=source.url, commit=source.commit,
    )  # fmt: skip


def _changed(pin: Pin, **changes: object) -> Pin:
    return msgspec.structs.replace(pin, **changes)


def _is_read(path: bytes, pin: Pin) -> bool:
    """Whether a file tells about the upstream: at the top, or Python code that is wanted."""
    return pin.wants(path) and (b"/" not in path or path.endswith(b".py"))


def _shares_code(own: Proposal, oids: set[Oid]) -> bool:
    return any(
        own.listing[os.fsencode(path)].oid in oids and len(text) > 50
        for path, text in own.files.items()
        if path.endswith(".py") and path != "setup.py"
    )


def _version(files: Mapping[str, bytes]) -> str | None:
    """Return the ``__version__`` of the shallowest module that has one."""
    modules = [path for path in files if re.search(r"(__init__|version|_version)\.py$", path)]
    found = (metadata.version_in(files[path]) for path in sorted(modules, key=_depth))
    return next((version for version in found if version), None)


def _depth(path: str) -> tuple[int, str]:
    return path.count("/"), path


def _gitmodules(upstream: Upstream) -> dict[str, str]:
    """Return the submodules' URLs by path, as git reads ``.gitmodules``."""
    entry = upstream.listing().get(b".gitmodules")
    if entry is None or not entry.is_blob:
        return {}
    upstream.blobs([entry.oid])
    command = ["git", f"--git-dir={upstream.git_dir}", "config", f"--blob={entry.oid}", "-z", "-l"]
    done = subprocess.run(command, capture_output=True, text=True, env=git_environment())
    rows = [row.partition("\n") for row in done.stdout.split("\0") if row]
    return _by_path((key, value) for key, _, value in rows)


def _by_path(rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    modules: dict[str, dict[str, str]] = {}
    for key, value in rows:
        name, _, field_name = key.rpartition(".")
        modules.setdefault(name, {})[field_name] = value
    return {each["path"]: each["url"] for each in modules.values() if {"path", "url"} <= {*each}}
