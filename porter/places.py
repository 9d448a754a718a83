"""Paths of the project's root, the cache, and a port's folders."""

from __future__ import annotations

import os
from pathlib import Path

from porter.errors import BadInput

PINS_FILE = "upstream_pins.yaml"


def cache_dir() -> Path:
    """Return porter's cache: ``PORTER_CACHE``, ``$XDG_CACHE_HOME/porter`` or ``~/.cache/porter``.

    The folder is not created here.
    """
    if own := os.environ.get("PORTER_CACHE"):
        return Path(own).expanduser().absolute()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser().absolute() / "porter"
    return Path("~/.cache/porter").expanduser()


def project_root() -> Path:
    """Return the folder that holds ``upstream_pins.yaml``.

    ``PORTER_ROOT`` (or ``--root``) when set; else the nearest one from the working directory
    upwards. Commands ask :func:`porter.tree.tree.project_of` instead: a tree knows its project
    wherever it lies.

    Raises BadInput when there is none.
    """
    if own := os.environ.get("PORTER_ROOT"):
        root = Path(own).expanduser().absolute()
        if not is_project(root):
            raise BadInput(f"{root}: expected a folder with {PINS_FILE}, found none")
        return root
    if (found := project_above()) is not None:
        return found
    raise BadInput(
        f"{Path.cwd()}: no {PINS_FILE} here or in a folder above; "
        "go to a porter project, pass --root DIR, or make one with `porter init`"
    )


def project_above() -> Path | None:
    """Return the nearest project from the working directory upwards, whatever PORTER_ROOT says."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if is_project(folder)), None)


def is_project(folder: Path) -> bool:
    """Return whether ``folder`` holds ``upstream_pins.yaml``."""
    return (folder / PINS_FILE).is_file()


def patches_dir(root: Path, port: str) -> Path:
    """Return the folder of a port's series, lock and patches."""
    return root / "patches" / port


def recipes_dir(root: Path, port: str) -> Path:
    """Return the folder of a port's recipes and probes."""
    return root / "recipes" / port


def migration_logs_dir(root: Path, port: str) -> Path:
    """Return the folder of a port's migration logs."""
    return root / "migration_logs" / port
