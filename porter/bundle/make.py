"""Gather what check, apply and verify need of some ports, and write it as one bundle."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from porter import __version__
from porter.bundle.archive import FORMAT, BundledPin, Manifest, file_hash, write_bundle
from porter.errors import CheckFailed, SourceUnavailable
from porter.git.objects import Oid
from porter.git.odb import sealed_environment
from porter.git.run import run_git
from porter.places import PINS_FILE, cache_dir, migration_logs_dir, patches_dir, recipes_dir
from porter.scratch import scratch_folder
from porter.upstream.gitfetch import FetchFailed
from porter.upstream.pins import Pin, Pins
from porter.upstream.sdist import download_release
from porter.upstream.store import Upstream
from porter.verify.cache.store import Places
from porter.verify.environment.pip_process import failure_reason, run_pip
from porter.verify.environment.requirements import Requirements, load_requirements
from porter.verify.environment.torch_layer import PINNED, Layer, find_layer
from porter.verify.environment.venv import Environment, Hearer, ensure_environment
from porter.verify.environment.wheels import list_name
from porter.verify.plan.port_trees import UpstreamTrees
from porter.verify.plan.select import Filters, make_plan, ports_with_recipes


@dataclass
class Made:
    """A written bundle: its manifest, bytes, SHA-256, and what it lacks."""

    manifest: Manifest
    size: int
    sha256: str
    lacking: list[str] = field(default_factory=list)


@dataclass
class Gatherer:
    """Collects the files of a bundle in a folder; ``files`` maps their names in it to them.

    ``platforms``: pip's names of the platforms that wheels must be for; none means this machine.
    """

    pins: Pins
    trees: UpstreamTrees
    folder: Path
    platforms: Sequence[str]
    hearer: Hearer
    files: dict[str, Path] = field(default_factory=dict)
    rows: dict[str, BundledPin] = field(default_factory=dict)
    environments: dict[str, list[str]] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)

    def add_port(self, pin: Pin) -> list[Path]:
        """Fetch and add what a port needs; return its recipes' requirements files.

        Recipes of which no source serves a file are noted as lacking. Raises NotReachable.
        """
        self.trees.levels(pin.name)
        found: list[Path] = []
        if pin.name in ports_with_recipes(self.pins.root):
            plan = make_plan(self.pins.root, [pin.name], self.trees, Filters())
            for one in plan.unreachable:
                name = "/".join(filter(None, (one.port, one.recipe)))
                self.lacking.append(f"{name}: {one.reason}")
            paths = (planned.loaded.environment for planned in plan.recipes)
            found = [path for path in dict.fromkeys(paths) if path is not None]
        root = self.pins.root
        for folder in (patches_dir, recipes_dir, migration_logs_dir):
            self._add_folder(folder(root, pin.name))
        return found

    def add_objects(self, pin: Pin) -> None:
        """Add an upstream's objects: its release's archive, else a pack of what the store has."""
        upstream = self.trees.upstream(pin.name)
        wanted = {e.oid for p, e in upstream.listing().items() if e.is_blob and pin.wants(p)}
        upstream.bring(wanted)
        have = upstream.present(wanted)
        release = ""
        if pin.sdist is not None:
            target = Path(tempfile.mkdtemp(dir=self.folder))
            try:
                archive = download_release(pin.sdist, target)
            except FetchFailed as error:
                raise SourceUnavailable(f"{pin.name}: {error}") from None
            release = archive.name
            self.files[f"releases/{archive.name}"] = archive
        else:
            self.files[f"objects/{pin.name}.pack"] = self._pack(upstream)
        if len(have) < len(wanted):
            count = len(wanted) - len(have)
            self.lacking.append(f"{pin.name}: no source serves {count} of its wanted files")
        self._add_folder(patches_dir(self.pins.root, pin.name))
        row = BundledPin(str(upstream.commit), str(pin.tree), release, len(have), len(wanted))
        self.rows[pin.name] = row

    def _pack(self, upstream: Upstream) -> Path:
        """Write a pack of the commit, its trees, and every file of it that the store has."""
        listing = upstream.listing()
        blobs = upstream.present(entry.oid for entry in listing.values() if entry.is_blob)
        trees = {upstream.pin.tree, *upstream.odb.trees(upstream.pin.tree).values()}
        ids: list[Oid] = [upstream.commit, *sorted(trees), *sorted(blobs)]
        done = run_git(
            ["pack-objects", "-q", "--stdout", "--threads=1"],
            cwd=upstream.git_dir,
            env=sealed_environment(upstream.git_dir),
            stdin="".join(f"{oid}\n" for oid in ids).encode(),
        )
        path = self.folder / f"{upstream.pin.name}.pack"
        path.write_bytes(done.out)
        return path

    def add_environment(self, path: Path, layer: Layer) -> None:
        """Build an environment here, and add the wheels of exactly its packages.

        Raises EnvironmentFailed, and CheckFailed for a package that has no wheel for a platform.
        """
        requirements = load_requirements(path, PINNED)
        places = Places.under(cache_dir())
        built = ensure_environment(requirements, layer, places.environments, self.hearer)
        lines = []
        for wheel in self._wheels(requirements, built):
            name = f"wheels/{wheel.name}"
            self.files[name] = wheel
            lines.append((wheel.name, file_hash(wheel)))
        listed = self.folder / list_name(requirements, layer)
        listed.write_text(_pip_lines(built.packages, lines), encoding="utf-8")
        self.files[f"wheels/{listed.name}"] = listed
        relative = path.relative_to(self.pins.root).as_posix()
        self.environments[relative] = [f"{n}=={v}" for n, v in built.packages.items()]
        self._add_file(path)

    def _wheels(self, requirements: Requirements, built: Environment) -> list[Path]:
        """Let pip bring the wheels of an environment's packages."""
        target = Path(tempfile.mkdtemp(dir=self.folder))
        wanted = [f"{name}=={version}" for name, version in built.packages.items()]
        found: list[Path] = []
        for platform in self.platforms or ("",):
            folder = target / (platform or "here")
            folder.mkdir()
            options = ["--platform", platform] if platform else []
            options += ["--only-binary", ":all:", "--no-deps", "--dest", str(folder)]
            if wanted:
                self._pip(requirements, built, target, "download", *options, *wanted)
            found += sorted(folder.glob("*.whl"))
        return list({wheel.name: wheel for wheel in found}.values())

    def _pip(
        self, requirements: Requirements, built: Environment, folder: Path, *arguments: str
    ) -> None:
        say: Callable[[str], None] = self.hearer.progress
        code, printed = run_pip(built.python, folder, arguments, say, threading.Event())
        if code:
            where = f" for {', '.join(self.platforms)}" if self.platforms else ""
            raise CheckFailed(
                f"environment {requirements.name}: no wheels{where}: {failure_reason(printed)}"
            )

    def add_project(self) -> None:
        """Add the pins file, and requirements files that recipes name."""
        self._add_file(self.pins.root / PINS_FILE)

    def _add_folder(self, folder: Path) -> None:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.is_file() and "__pycache__" not in path.parts:
                self._add_file(path)

    def _add_file(self, path: Path) -> None:
        self.files[f"project/{path.relative_to(self.pins.root).as_posix()}"] = path


def _pip_lines(packages: dict[str, str], wheels: Iterable[tuple[str, str]]) -> str:
    """Return the requirements lines of some packages with the hashes of their wheels."""
    from packaging.utils import canonicalize_name, parse_wheel_filename

    hashes: dict[str, list[str]] = {}
    for file, digest in wheels:
        hashes.setdefault(parse_wheel_filename(file)[0], []).append(digest)
    lines = []
    for name, version in packages.items():
        given = hashes[canonicalize_name(name)]
        lines.append(" ".join([f"{name}=={version}", *(f"--hash=sha256:{one}" for one in given)]))
    return "".join(f"{line}\n" for line in lines)


def make_bundle(
    pins: Pins,
    ports: Sequence[Pin],
    trees: UpstreamTrees,
    target: Path,
    hearer: Hearer,
    platforms: Sequence[str] = (),
    *,
    environments: bool = True,
) -> Made:
    """Write a bundle of some ports; return what is in it and what it lacks.

    Raises NotReachable and SourceUnavailable for an upstream that no source serves.
    """
    with scratch_folder("bundle") as folder:
        gatherer = Gatherer(pins, trees, folder, platforms, hearer)
        gatherer.add_project()
        wanted: dict[Path, None] = {}
        for pin in ports:
            wanted |= dict.fromkeys(gatherer.add_port(pin))
        for pin in with_neighbours(pins, ports):
            gatherer.add_objects(pin)
        for path in wanted:
            gatherer._add_file(path)
        if environments and wanted:
            layer = find_layer()
            for path in wanted:
                gatherer.add_environment(path, layer)
        manifest = Manifest(
            format=FORMAT,
            porter=__version__,
            ports=[pin.name for pin in ports],
            pins=gatherer.rows,
            files={name: file_hash(path) for name, path in sorted(gatherer.files.items())},
            python=f"{sys.version_info.major}.{sys.version_info.minor}",
            platforms=list(platforms),
            environments=gatherer.environments,
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        sha256 = write_bundle(target, manifest, gatherer.files)
    return Made(manifest, target.stat().st_size, sha256, gatherer.lacking)


def with_neighbours(pins: Pins, ports: Iterable[Pin]) -> list[Pin]:
    """Return pins and those that their trees need, each once."""
    waiting, chosen = list(ports), dict[str, Pin]()
    while waiting:
        pin = waiting.pop(0)
        if pin.name not in chosen:
            chosen[pin.name] = pin
            waiting += pins.beside(pin)
    return list(chosen.values())
