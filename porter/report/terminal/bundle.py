"""Bundles on the terminal and as JSON: what was written, what was taken in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from porter.report.terminal.progress import size_text
from porter.terminal import counted, listed

if TYPE_CHECKING:
    from pathlib import Path

    from porter.bundle.make import Made
    from porter.bundle.take import Taken


def made_lines(made: Made, target: Path) -> Iterator[str]:
    """Yield what is in a bundle, what it lacks, and its hash."""
    manifest = made.manifest
    for name, pin in manifest.pins.items():
        source = "release" if pin.release else "objects"
        yield f"{name}: {source}, {pin.covered} of {counted(pin.wanted, 'wanted file')}"
    for name, packages in manifest.environments.items():
        platforms = ", ".join(manifest.platforms) or "this platform"
        count = counted(len(packages), "package")
        yield f"{name}: {count} for {platforms}, Python {manifest.python}"
    yield from (f"lacking: {line}" for line in made.lacking)
    yield f"{target}: {size_text(made.size)}, sha256 {made.sha256}"


def made_json(made: Made, target: Path) -> dict[str, Any]:
    """Return what is in a bundle as plain values."""
    manifest = made.manifest
    return {
        "file": str(target),
        "size": made.size,
        "sha256": made.sha256,
        "ports": manifest.ports,
        "pins": {
            name: {"commit": pin.commit, "tree": pin.tree, "covered": pin.covered}
            for name, pin in manifest.pins.items()
        },
        "environments": manifest.environments,
        "python": manifest.python,
        "platforms": manifest.platforms,
        "lacking": made.lacking,
    }


def taken_lines(taken: Taken) -> Iterator[str]:
    """Yield what was taken in, and what was not and why."""
    for name in taken.upstreams:
        pin = taken.manifest.pins[name]
        yield f"{name}: {pin.covered} of {counted(pin.wanted, 'wanted file')} in the bundle"
    yield from (f"not taken: {why}" for why in taken.refused.values())
    if taken.wheels:
        yield f"{counted(taken.wheels, 'wheel')} for Python {taken.manifest.python}"
    if taken.project is not None:
        yield f"project written: {taken.project}"
    if taken.differing:
        yield f"other here than in the bundle, and left so: {listed(taken.differing)}"


def taken_json(taken: Taken) -> dict[str, Any]:
    """Return what was taken in as plain values."""
    return {
        "upstreams": taken.upstreams,
        "not_taken": taken.refused,
        "wheels": taken.wheels,
        "project": None if taken.project is None else str(taken.project),
        "differing": taken.differing,
    }
