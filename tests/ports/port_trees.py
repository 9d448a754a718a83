"""A port's levels as folders, the same levels by ``git apply`` by hand, and its migration logs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.series.series import load_series
from porter.upstream.pins import load_pins
from porter.verify.trees import NotReachable
from porter.verify.upstream_trees import UpstreamTrees, open_trees
from tests.conftest import PROJECT

_SITE = re.compile(r"^(\S+):(\d+)$")


def level_names(port: str) -> list[str]:
    return ["upstream", *(patch.header.level for patch in load_series(PROJECT, port).patches)]


def reachable_trees(port: str) -> Iterator[UpstreamTrees]:
    """The body of a fixture: open trees, or a skip with the reason."""
    with open_trees(PROJECT) as opened:
        try:
            opened.levels(port)
        except NotReachable as error:
            pytest.skip(str(error))
        yield opened


def folder_of(trees: UpstreamTrees, port: str, level: int) -> Path:
    """A folder with all that the pin wants and the series touches, at a level."""
    patches = load_series(PROJECT, port).patches
    touched = {path.decode() for p in patches for file in p.files for path in file.paths}
    needs = (*load_pins(PROJECT).port(port).wanted, *sorted(touched))
    return trees.folder(port, trees.levels(port)[level], needs)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def check_git_apply_makes_the_levels(trees: UpstreamTrees, port: str, work: Path) -> None:
    """Apply the patch files by hand, in order, in ``work``; compare every level with porter's."""
    shutil.copytree(folder_of(trees, port, 0), work)
    subprocess.run(["chmod", "-R", "u+w", work], check=True)
    for number, patch in enumerate(load_series(PROJECT, port).patches, 1):
        subprocess.run(["git", "apply", patch.path], cwd=work, check=True)
        assert contents(work) == contents(folder_of(trees, port, number)), patch.name


def logged_sites(port: str, level: int, device: str) -> set[tuple[str, int]]:
    """File and line of every site in a migration log."""
    name = f"{level}-{level_names(port)[level]}.{device}.txt"
    text = (PROJECT / "migration_logs" / port / name).read_text(encoding="utf-8")
    found = (_SITE.match(line) for line in text.splitlines())
    return {(match[1], int(match[2])) for match in found if match}
