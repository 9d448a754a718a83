"""The v-diffusion port: its series by hand, its log, where CUDA is still named, its page."""

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
from tests.ports.cuda_calls import CudaCall, cuda_calls

PORT = "v-diffusion"
SCRIPTS = ("cfg_sample.py", "clip_sample.py", "cfg_modify_image.py")
PATCHES = load_series(PROJECT, PORT).patches
LEVELS = ["upstream", *(patch.header.level for patch in PATCHES)]
_SITE = re.compile(r"^(\S+):(\d+)$")


@pytest.fixture
def trees() -> Iterator[UpstreamTrees]:
    with open_trees(PROJECT) as opened:
        try:
            opened.levels(PORT)
        except NotReachable as error:
            pytest.skip(str(error))
        yield opened


def folder_of(trees: UpstreamTrees, level: int) -> Path:
    touched = {path.decode() for p in PATCHES for file in p.files for path in file.paths}
    needs = (*load_pins(PROJECT).port(PORT).wanted, *sorted(touched))
    return trees.folder(PORT, trees.levels(PORT)[level], needs)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def calls_of(folder: Path) -> list[CudaCall]:
    library = (str(path.relative_to(folder)) for path in folder.glob("diffusion/**/*.py"))
    files = [*SCRIPTS, *sorted(library)]
    return [call for file in files for call in cuda_calls(folder, file, is_main=file in SCRIPTS)]


@pytest.mark.upstream
def test_git_apply_by_hand_makes_the_same_levels(trees: UpstreamTrees, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(folder_of(trees, 0), work)
    subprocess.run(["chmod", "-R", "u+w", work], check=True)
    for number, patch in enumerate(PATCHES, 1):
        subprocess.run(["git", "apply", patch.path], cwd=work, check=True)
        assert contents(work) == contents(folder_of(trees, number)), patch.name


@pytest.mark.upstream
def test_every_cuda_call_of_upstream_is_in_the_log(trees: UpstreamTrees) -> None:
    log = PROJECT / "migration_logs" / PORT / "0-upstream.sim-hpu.txt"
    found = (_SITE.match(line) for line in log.read_text(encoding="utf-8").splitlines())
    there = {(match[1], int(match[2])) for match in found if match}
    calls = calls_of(folder_of(trees, 0))
    # the device's choice in each script; autocast in three samplers and around the other models
    assert len(calls) == 7
    missing = [call for call in calls if not call.is_in(there)]
    assert not missing, "\n".join(f"{c.file}:{c.line}: {c.source}" for c in missing)


@pytest.mark.upstream
@pytest.mark.parametrize("level", range(1, len(LEVELS)), ids=LEVELS[1:])
def test_from_minimal_on_cuda_is_named_in_devices_only(trees: UpstreamTrees, level: int) -> None:
    calls = calls_of(folder_of(trees, level))
    assert {call.file for call in calls} == {"diffusion/devices.py"}


def test_the_page_names_every_recipe() -> None:
    page = (PROJECT / "docs" / "ports" / f"{PORT}.md").read_text(encoding="utf-8")
    table = page.partition("## Recipes")[2]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    named = {name.strip() for cell in first_cells[1:] for name in cell.split(",")}
    there = {path.stem for path in (PROJECT / "recipes" / PORT).glob("*.yaml")}
    assert named - {"---"} == there
