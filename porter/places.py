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
    upwards; else the checkout that porter itself runs from.

    Raises BadInput when there is none.
    """
    if own := os.environ.get("PORTER_ROOT"):
        root = Path(own).expanduser().absolute()
        if not (root / PINS_FILE).is_file():
            raise BadInput(f"{root}: expected a folder with {PINS_FILE}, found none")
        return root
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parent.parent):
        if (folder / PINS_FILE).is_file():
            return folder
    raise BadInput(
        f"{here}: no {PINS_FILE} here or in a folder above; "
        "go to a porter project or pass --root DIR"
    )


def own_project_root() -> Path:
    """Return the project to write to: as :func:`project_root`, without porter's own checkout
    unless the working directory is in it.

    Raises BadInput when there is none.
    """
    here = Path.cwd()
    if os.environ.get("PORTER_ROOT"):
        return project_root()
    for folder in (here, *here.parents):
        if (folder / PINS_FILE).is_file():
            return folder
    raise BadInput(f"{here}: no {PINS_FILE} here or in a folder above; `porter init` makes one")


def patches_dir(root: Path, port: str) -> Path:
    """Return the folder of a port's series, lock and patches."""
    return root / "patches" / port


def recipes_dir(root: Path, port: str) -> Path:
    """Return the folder of a port's recipes and probes."""
    return root / "recipes" / port


def migration_logs_dir(root: Path, port: str) -> Path:
    """Return the folder of a port's migration logs."""
    return root / "migration_logs" / port
