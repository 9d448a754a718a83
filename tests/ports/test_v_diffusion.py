"""The v-diffusion port: its series by hand, its log, where CUDA is still named, its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.ports.cuda_calls import CudaCall, cuda_calls
from tests.ports.port_trees import check_git_apply_makes_the_levels, level_names, logged_sites
from tests.served import Served

PORT = "v-diffusion"
LIBRARY = ("diffusion/",)
SCRIPTS = ("cfg_sample.py", "clip_sample.py", "cfg_modify_image.py")
PARTS = pytest.mark.parametrize("part", [LIBRARY, SCRIPTS], ids=["library", "scripts"])
"""What a release on PyPI covers, and what git alone serves."""
LEVELS = level_names(PORT)


def calls_of(folder: Path) -> list[CudaCall]:
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.py"))
    return [call for file in files for call in cuda_calls(folder, file, is_main=file in SCRIPTS)]


@pytest.mark.upstream
@PARTS
def test_git_apply_by_hand_makes_the_same_levels(
    served: Served, tmp_path: Path, part: tuple[str, ...]
) -> None:
    check_git_apply_makes_the_levels(served, PORT, tmp_path / "work", *part)


@pytest.mark.upstream
@pytest.mark.parametrize(
    ("part", "count"),
    [
        pytest.param(LIBRARY, 4, id="library"),  # autocast in three samplers, around other models
        pytest.param(SCRIPTS, 3, id="scripts"),  # the device's choice in each
    ],
)
def test_every_cuda_call_of_upstream_is_in_the_log(
    served: Served, part: tuple[str, ...], count: int
) -> None:
    there = logged_sites(PORT, 0, "sim-hpu")
    calls = calls_of(served.folder(PORT, 0, *part))
    assert len(calls) == count
    missing = [call for call in calls if not call.is_in(there)]
    assert not missing, "\n".join(f"{c.file}:{c.line}: {c.source}" for c in missing)


@pytest.mark.upstream
@PARTS
@pytest.mark.parametrize("level", range(1, len(LEVELS)), ids=LEVELS[1:])
def test_from_minimal_on_cuda_is_named_in_devices_only(
    served: Served, level: int, part: tuple[str, ...]
) -> None:
    calls = calls_of(served.folder(PORT, level, *part))
    assert {call.file for call in calls} == ({"diffusion/devices.py"} if part == LIBRARY else set())


def test_the_page_names_every_recipe() -> None:
    page = (PROJECT / "docs" / "ports" / f"{PORT}.md").read_text(encoding="utf-8")
    table = page.partition("## Recipes")[2]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    named = {name.strip() for cell in first_cells[1:] for name in cell.split(",")}
    there = {path.stem for path in (PROJECT / "recipes" / PORT).glob("*.yaml")}
    assert named - {"---"} == there
