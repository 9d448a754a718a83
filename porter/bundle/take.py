"""Take a bundle in: into the store, the folder of wheels, and a new project.

Everything is compared with the bundle's hashes first, and then with what the project's own pins
say: an upstream counts by its commit and tree ids, whatever the bundle calls it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from porter.atomic import write_atomic
from porter.bundle.archive import Manifest, unpack_bundle
from porter.errors import BadInput, CorruptSource, PorterError
from porter.git.odb import Odb, index_pack
from porter.places import PINS_FILE, cache_dir
from porter.scratch import scratch_folder
from porter.upstream.gitfetch import FetchFailed, create_repository, publish_packs, staging
from porter.upstream.pins import Pin, Pins, load_pins
from porter.upstream.registry import register
from porter.upstream.sources import Supply, check_names, expect_tree, level0_commit
from porter.upstream.store import repository, upstream_lock
from porter.verify.cache.store import Places
from porter.verify.environment.wheels import wheels_dir


@dataclass
class Taken:
    """What came of a bundle. ``refused``: pin -> why nothing of it was taken; ``differing``: files
    of the bundle's project that the project here lacks or has otherwise, and that stay so."""

    manifest: Manifest
    upstreams: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    wheels: int = 0
    differing: list[str] = field(default_factory=list)
    project: Path | None = None


def take_bundle(path: Path, root: Path | None, new_project: Path | None) -> Taken:
    """Take in what a bundle has; ``new_project`` is where its project is written, if anywhere.

    Raises BadInput for a file that is no bundle or a folder that is not empty, and CorruptSource
    for a damaged bundle: then nothing was taken.
    """
    if not path.is_file():
        raise BadInput(f"{path}: expected a file that `porter bundle` wrote, found none")
    if new_project is not None and new_project.exists() and any(new_project.iterdir()):
        raise BadInput(f"{new_project}: expected a new or an empty folder, found files in it")
    with scratch_folder("bundle", path.stat().st_size) as folder:
        taken = Taken(unpack_bundle(path, folder))
        if new_project is not None:
            _write_project(folder / "project", new_project)
            taken.project, root = new_project, new_project
        assert root is not None  # a project, or a new one
        pins = load_pins(root)
        for name in sorted(taken.manifest.pins):
            try:
                _take_upstream(pins, name, taken.manifest, folder)
                taken.upstreams.append(name)
            except PorterError as error:
                taken.refused[name] = str(error)
        taken.wheels = _take_wheels(folder / "wheels")
        taken.differing = _differing(folder / "project", root)
    return taken


def _write_project(source: Path, target: Path) -> None:
    if not (source / PINS_FILE).is_file():
        raise CorruptSource(f"expected project/{PINS_FILE} in the bundle, found none")
    for file in _files(source):
        write_atomic(target / file.relative_to(source), file.read_bytes())


def _take_upstream(pins: Pins, name: str, manifest: Manifest, folder: Path) -> None:
    """Store a pin's objects, if they are those of the project's pin of that name."""
    row, pin = manifest.pins[name], pins.port(name)
    commit = level0_commit(pin)
    if (row.commit, row.tree) != (commit, pin.tree):
        raise CorruptSource(
            f"{name}: the pin is commit {commit}, the bundle has commit {row.commit}; "
            "make the bundle from this state of the project"
        )
    git_dir = repository(name)
    with upstream_lock(name):
        create_repository(git_dir)
        if row.release and pin.sdist is not None:
            with Odb(git_dir) as odb:
                try:
                    Supply(pins.root, pin, git_dir, odb).take_release(
                        pin.sdist, folder / "releases" / row.release
                    )
                except FetchFailed as error:
                    raise CorruptSource(f"{name}: {error}") from None
        else:
            _take_pack(pin, folder / "objects" / f"{name}.pack", git_dir)
    register("projects", pins.root)


def _take_pack(pin: Pin, pack: Path, git_dir: Path) -> None:
    """Publish a pack if it holds the pinned commit with all its trees; git hashes every object."""
    if not pack.is_file():
        raise CorruptSource(f"{pin.name}: the bundle names it and has no objects of it")
    commit = level0_commit(pin)
    with staging(pin.name) as fresh:
        index_pack(fresh, pack.read_bytes())
        with Odb(fresh) as odb:
            body = odb.read_many((commit,)).get(commit)
            if body is None:
                raise CorruptSource(f"{pin.name}: the bundle's objects lack commit {commit}")
            expect_tree(pin, commit, body)
            check_names(pin, odb.flat(pin.tree))
        publish_packs(fresh, git_dir)


def _take_wheels(source: Path) -> int:
    """Put wheels and their lists into the cache, the lists last; return the number of wheels."""
    target = wheels_dir(Places.under(cache_dir()).environments)
    files = sorted(_files(source), key=lambda file: file.suffix == ".txt")
    for file in files:
        write_atomic(target / file.name, file.read_bytes())
    return sum(file.suffix == ".whl" for file in files)


def _differing(source: Path, root: Path) -> list[str]:
    found = []
    for file in _files(source):
        path = file.relative_to(source)
        own = root / path
        if not own.is_file() or own.read_bytes() != file.read_bytes():
            found.append(path.as_posix())
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
