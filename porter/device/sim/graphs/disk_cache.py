"""The on-disk cache of compiled graphs ("recipes") that processes share.

Gaudi stores compiled graphs in a folder when ``PT_HPU_RECIPE_CACHE_CONFIG`` names one (`runtime
flags <https://docs.habana.ai/en/latest/PyTorch/Runtime_Flags.html>`_: path, whether to clear it
first, size in MB, whether it is on NFS), so that one process compiles and the others read. Here a
recipe is an empty file named after the graph's digest: enough to tell a compilation from a recipe
read from disk.
"""

from __future__ import annotations

import os
from pathlib import Path

_SUFFIX = ".recipe"


class RecipeFolder:
    """A folder of recipes. Two processes may use it at once: each file is made by exactly one."""

    def __init__(self, path: Path, *, clear: bool = False) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        if clear:
            for old in path.glob(f"*{_SUFFIX}"):
                old.unlink(missing_ok=True)

    def add(self, digest: str) -> bool:
        """Add a recipe. Returns whether it is new, so that this process compiles it."""
        try:
            os.close(os.open(self.path / f"{digest}{_SUFFIX}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


def folder_from_environment(environ: dict[str, str]) -> RecipeFolder | None:
    """Return the folder that ``PT_HPU_RECIPE_CACHE_CONFIG`` (or its older name) sets, if any."""
    config = environ.get("PT_HPU_RECIPE_CACHE_CONFIG", "").split(",")
    path = config[0] or environ.get("PT_RECIPE_CACHE_PATH", "")
    if not path:
        return None
    clear = config[1] if len(config) > 1 else environ.get("PT_CACHE_FOLDER_DELETE", "")
    return RecipeFolder(Path(path), clear=clear.strip().lower() in ("true", "1"))
