"""Wheels that came in a bundle: environments are built from them without a package index.

They lie in the cache's ``wheels/``. A list, ``<name>-<key>.txt``, names the wheels of one
requirements file, exactly and with their hashes, so that every machine builds the same environment.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from porter.verify.environment.requirements import Requirements
from porter.verify.environment.torch_layer import Layer

WHEELS = "wheels"
ANY_PYTHON = tuple((3, minor) for minor in range(8, 30))
"""Versions of Python that lists of wheels are searched for."""


def wheels_dir(environments: Path) -> Path:
    """Return the folder of wheels, beside that of environments; it may not exist."""
    return environments.with_name(WHEELS)


def list_name(
    requirements: Requirements, layer: Layer | None, python: tuple[int, int] = sys.version_info[:2]
) -> str:
    """Return the name of the list of wheels of a requirements file, by default for this Python.

    A package without its dependencies (torchvision) belongs to one release of torch, ``layer``'s.
    """
    parts = [requirements.sha256, f"{python[0]}.{python[1]}"]
    if requirements.no_deps and layer is not None:
        torch = Version(layer.torch_version)
        parts.append(f"torch {torch.major}.{torch.minor}")
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return f"{requirements.name}-{key[:16]}.txt"


def install_arguments(
    requirements: Requirements, layer: Layer, environments: Path
) -> list[str] | None:
    """Return pip's arguments that install the wheels of a bundle; None where there are none."""
    folder = wheels_dir(environments)
    listed = folder / list_name(requirements, layer)
    if not listed.is_file():
        return None
    os.utime(listed)  # `porter gc` keeps what was used
    options = ["--no-index", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    return [*options, "--find-links", str(folder), "-r", str(listed)]


def named_in(listed: Path) -> set[tuple[str, str]]:
    """Return the names and versions of the packages of a list of wheels."""
    rows = (line.split(" ")[0].partition("==") for line in listed.read_text("utf-8").splitlines())
    return {(canonicalize_name(name), _plain(version)) for name, _, version in rows}


def named_by(wheel: Path) -> tuple[str, str]:
    """Return the name and the version of a wheel's package; ("", "") for no name of a wheel."""
    try:
        name, version, _, _ = parse_wheel_filename(wheel.name)
    except (InvalidWheelFilename, InvalidVersion):
        return "", ""
    return name, str(version)


def _plain(version: str) -> str:
    try:
        return str(Version(version))
    except InvalidVersion:
        return version
