"""The v-diffusion port: its series by hand, its log, where CUDA is still named, its page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.verify.upstream_trees import UpstreamTrees
from tests.conftest import PROJECT
from tests.ports.cuda_calls import CudaCall, cuda_calls
from tests.ports.port_trees import (
    check_git_apply_makes_the_levels,
    folder_of,
    level_names,
    logged_sites,
    reachable_trees,
)

PORT = "v-diffusion"
SCRIPTS = ("cfg_sample.py", "clip_sample.py", "cfg_modify_image.py")
LEVELS = level_names(PORT)


@pytest.fixture
def trees() -> Iterator[UpstreamTrees]:
    yield from reachable_trees(PORT)


def calls_of(folder: Path) -> list[CudaCall]:
    library = (str(path.relative_to(folder)) for path in folder.glob("diffusion/**/*.py"))
    files = [*SCRIPTS, *sorted(library)]
    return [call for file in files for call in cuda_calls(folder, file, is_main=file in SCRIPTS)]


@pytest.mark.upstream
def test_git_apply_by_hand_makes_the_same_levels(trees: UpstreamTrees, tmp_path: Path) -> None:
    check_git_apply_makes_the_levels(trees, PORT, tmp_path / "work")


@pytest.mark.upstream
def test_every_cuda_call_of_upstream_is_in_the_log(trees: UpstreamTrees) -> None:
    there = logged_sites(PORT, 0, "sim-hpu")
    calls = calls_of(folder_of(trees, PORT, 0))
    # the device's choice in each script; autocast in three samplers and around the other models
    assert len(calls) == 7
    missing = [call for call in calls if not call.is_in(there)]
    assert not missing, "\n".join(f"{c.file}:{c.line}: {c.source}" for c in missing)


@pytest.mark.upstream
@pytest.mark.parametrize("level", range(1, len(LEVELS)), ids=LEVELS[1:])
def test_from_minimal_on_cuda_is_named_in_devices_only(trees: UpstreamTrees, level: int) -> None:
    calls = calls_of(folder_of(trees, PORT, level))
    assert {call.file for call in calls} == {"diffusion/devices.py"}


def test_the_page_names_every_recipe() -> None:
    page = (PROJECT / "docs" / "ports" / f"{PORT}.md").read_text(encoding="utf-8")
    table = page.partition("## Recipes")[2]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    named = {name.strip() for cell in first_cells[1:] for name in cell.split(",")}
    there = {path.stem for path in (PROJECT / "recipes" / PORT).glob("*.yaml")}
    assert named - {"---"} == there
