"""The real upstreams match upstream_pins.yaml."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from porter.errors import SourceUnavailable
from porter.git.odb import Odb
from porter.upstream.gitfetch import FetchFailed, create_repository, fetch_objects
from porter.upstream.pins import GitSource, Sdist, load_pins, read_commit, read_listing
from porter.upstream.sdist import bring_release
from porter.upstream.store import fetch
from tests.conftest import PROJECT
from tests.served import Served

PINS = load_pins(PROJECT).pins
GIT_SOURCES = [
    (pin.name, source)
    for pin in PINS.values()
    for source in pin.sources
    if isinstance(source, GitSource)
]

pytestmark = pytest.mark.upstream


@pytest.mark.parametrize(("name", "source"), GIT_SOURCES, ids=[name for name, _ in GIT_SOURCES])
def test_git_serves_the_pinned_commit_with_its_tree(
    tmp_path: Path, name: str, source: GitSource
) -> None:
    create_repository(tmp_path / "git")
    try:
        fetch_objects(tmp_path / "git", source.url, [source.commit], name, None)
    except FetchFailed as error:
        pytest.skip(f"{source}: {error}")
    pin = PINS[name]
    with Odb(tmp_path / "git") as odb:
        body = odb.read(source.commit)
        if source.commit == pin.commit:
            assert body == read_commit(PROJECT, pin)
            assert odb.flat(pin.tree) == read_listing(PROJECT, pin)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache filled from releases only."""
    return tmp_path_factory.mktemp("alone")


@pytest.mark.forms(2)
@pytest.mark.parametrize(
    ("name", "folder", "suffix"),
    [
        ("v-diffusion", b"diffusion/", b""),
        ("diffusers", b"src/diffusers/", b".py"),
        ("accelerate", b"src/accelerate/", b""),
        ("clip", b"clip/simple_tokenizer.py", b""),
        ("clip", b"clip/bpe_simple_vocab_16e6.txt.gz", b""),
    ],
)
def test_a_release_alone_covers_the_library(
    alone: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: bytes, suffix: bytes
) -> None:
    monkeypatch.setenv("PORTER_CACHE", str(alone))
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "none")
    pin = PINS[name]
    try:
        covered = fetch(PROJECT, pin)
    except SourceUnavailable as error:
        pytest.skip(str(error))
    listing = read_listing(PROJECT, pin) or {}
    library = [p for p in listing if p.startswith(folder) and p.endswith(suffix)]
    assert library
    assert not set(library) & set(covered.missing)


def test_the_tree_of_the_accelerate_release_is_the_pins(tmp_path: Path) -> None:
    pin = PINS["accelerate"]
    assert isinstance(pin.sdist, Sdist)
    try:
        release = bring_release(pin.sdist, set(), None)
    except FetchFailed as error:
        pytest.skip(f"{pin.sdist}: {error}")
    assert release.entries == read_listing(PROJECT, pin)


@pytest.mark.parametrize("name", list(PINS))
def test_the_licence_file_is_among_the_wanted_ones(name: str) -> None:
    pin = PINS[name]
    paths = [path for path in read_listing(PROJECT, pin) or {} if path.upper() == b"LICENSE"]
    assert bool(paths) == (pin.license != "NONE")
    assert all(pin.wants(path) for path in paths)


def test_wanted_paths_of_an_upstream_can_be_read(served: Served) -> None:
    opened = served.upstream("v-diffusion", "diffusion/utils.py")
    entry = opened.listing()[b"diffusion/utils.py"]
    assert b"def " in opened.blobs([entry.oid])[entry.oid]


def test_every_wanted_path_is_in_the_listing() -> None:
    for pin in PINS.values():
        paths = read_listing(PROJECT, pin) or {}
        for want in pin.wanted:
            folder = want if want.endswith("/") else want + "/"
            found = any(p == want.encode() or p.startswith(folder.encode()) for p in paths)
            assert found, f"{pin.name}: {want}"


def test_no_upstream_file_is_committed() -> None:
    """The blobs of this project and of its upstreams have nothing but empty files in common."""
    rows = subprocess.run(
        ["git", "-C", str(PROJECT), "ls-files", "-s"], capture_output=True, text=True
    )
    if rows.returncode:
        pytest.skip("not a git checkout")
    ours = {line.split()[1] for line in rows.stdout.splitlines()}
    theirs = {e.oid for pin in PINS.values() for e in (read_listing(PROJECT, pin) or {}).values()}
    assert ours & theirs <= {"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"}
