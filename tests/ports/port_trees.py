"""A port's levels as folders, the same levels by ``git apply`` by hand, and its migration logs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from porter.series.series import load_series
from porter.upstream.pins import load_pins
from tests.conftest import PROJECT
from tests.served import Served

_SITE = re.compile(r"^(\S+):(\d+)$")


def level_names(port: str, *, off: bool = True) -> list[str]:
    """The names of a port's levels, with those that are off by default if ``off``."""
    patches = load_series(PROJECT, port).patches
    return ["upstream", *(patch.header.level for patch in patches if off or not patch.off)]


def folder_of(served: Served, port: str, level: int) -> Path:
    """A folder with all that the port has, at a level."""
    return served.folder(port, level, *everything(port))


def everything(port: str) -> list[str]:
    """All that the pin wants and the series touches."""
    patches = load_series(PROJECT, port).patches
    touched = {os.fsdecode(p) for patch in patches for f in patch.files for p in f.paths}
    return [*load_pins(PROJECT).port(port).wanted, *sorted(touched)]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def check_git_apply_makes_the_levels(served: Served, port: str, work: Path, *needs: str) -> None:
    """Apply the patch files by hand, in order, in ``work``; compare every level with porter's.

    Of the upstream are there the files at and under ``needs`` alone, and those are compared.
    """
    shutil.copytree(served.folder(port, 0, *needs), work)
    subprocess.run(["chmod", "-R", "u+w", work], check=True)
    only = [f"--include={need}{'*' * need.endswith('/')}" for need in needs]
    for number, patch in enumerate(load_series(PROJECT, port).patches, 1):
        subprocess.run(["git", "apply", *only, patch.path], cwd=work, check=True)
        assert contents(work) == contents(served.folder(port, number, *needs)), patch.name


def logged_sites(port: str, level: int, device: str) -> set[tuple[str, int]]:
    """File and line of every site in a migration log."""
    name = f"{level}-{level_names(port)[level]}.{device}.txt"
    text = (PROJECT / "migration_logs" / port / name).read_text(encoding="utf-8")
    found = (_SITE.match(line) for line in text.splitlines())
    return {(match[1], int(match[2])) for match in found if match}
