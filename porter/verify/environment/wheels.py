"""Wheels that came in a bundle: environments are built from them without a package index.

They lie in the cache's ``wheels/``. A list, ``<name>-<key>.txt``, names the wheels of one
requirements file, exactly and with their hashes, so that every machine builds the same environment.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from packaging.version import Version

from porter.verify.environment.requirements import Requirements
from porter.verify.environment.torch_layer import Layer

WHEELS = "wheels"


def wheels_dir(environments: Path) -> Path:
    """Return the folder of wheels, beside that of environments; it may not exist."""
    return environments.with_name(WHEELS)


def list_name(requirements: Requirements, layer: Layer) -> str:
    """Return the name of the list of wheels of a requirements file, for this Python.

    A package without its dependencies (torchvision) belongs to one release of torch.
    """
    parts = [requirements.sha256, f"{sys.version_info.major}.{sys.version_info.minor}"]
    if requirements.no_deps:
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
    options = ["--no-index", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    return [*options, "--find-links", str(folder), "-r", str(listed)]
