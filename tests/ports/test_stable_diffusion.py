"""The stable-diffusion port: its series by hand, its logs, its requirements."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.ports.cuda_calls import CudaCall, cuda_calls, imported
from tests.ports.port_trees import (
    check_git_apply_makes_the_levels,
    everything,
    folder_of,
    level_names,
    logged_sites,
)
from tests.served import Served

PORT = "stable-diffusion"
SCRIPT = "scripts/txt2img.py"
CONFIGURED = (
    "ldm.models.diffusion.ddpm",
    "ldm.models.autoencoder",
    "ldm.modules.encoders.modules",
    "ldm.modules.diffusionmodules.openaimodel",
)
EXCUSED = {
    "TransformerEmbedder": "takes tokens: a prompt, which is text, fails before it",
    "ldm/accelerator.py": "chooses who serves CUDA calls, and makes none",
}
LEVELS = level_names(PORT, off=False)

pytestmark = pytest.mark.upstream


def test_git_apply_by_hand_makes_the_same_levels(served: Served, tmp_path: Path) -> None:
    check_git_apply_makes_the_levels(served, PORT, tmp_path / "work", *everything(PORT))


@cache
def calls_of(folder: Path) -> list[CudaCall]:
    files = imported(folder, SCRIPT, CONFIGURED)
    assert len(files) > 10, files
    return [c for f in files for c in cuda_calls(folder, f, is_main=f == SCRIPT)]


@pytest.mark.forms(4)
@pytest.mark.parametrize("device", ["sim-hpu", "sim-npu"])
@pytest.mark.parametrize("level", range(len(LEVELS)), ids=LEVELS)
def test_every_reachable_cuda_call_is_in_the_log(served: Served, level: int, device: str) -> None:
    folder = folder_of(served, PORT, level)
    calls = calls_of(folder)
    assert len(calls) >= 10
    missing = missing_from(logged_sites(PORT, level, device), calls, folder)
    assert not missing, "\n".join(f"{c.file}:{c.line}: {c.source}" for c in missing)


def missing_from(
    there: set[tuple[str, int]], calls: list[CudaCall], folder: Path
) -> list[CudaCall]:
    unexcused = (c for c in calls if not EXCUSED.keys() & {c.file, _class_at(folder, c)})
    return [c for c in unexcused if not c.is_in(there)]


def test_a_line_that_leaves_the_log_is_missed(served: Served) -> None:
    folder, there = folder_of(served, PORT, 0), logged_sites(PORT, 0, "sim-hpu")
    calls = calls_of(folder)
    needed = [s for s in sorted(there) if missing_from(there - {s}, calls, folder)]
    assert len(needed) >= 8
    assert (SCRIPT, 40) in needed
    assert ("ldm/models/diffusion/plms.py", 22) in needed


def test_the_calls_of_the_pinned_tree_are_those_that_are_known(served: Served) -> None:
    found = {(c.file, c.line) for c in calls_of(folder_of(served, PORT, 0))}
    modules, diffusion = "ldm/modules/encoders/modules.py", "ldm/models/diffusion"
    assert found == {
        (SCRIPT, 40), (SCRIPT, 196), (SCRIPT, 231),
        (f"{diffusion}/ddim.py", 22), (f"{diffusion}/ddim.py", 23),
        (f"{diffusion}/plms.py", 21), (f"{diffusion}/plms.py", 22),
        (modules, 47), (modules, 68), (modules, 135), (modules, 164),
    }  # fmt: skip


def _class_at(folder: Path, call: CudaCall) -> str:
    tree = ast.parse((folder / call.file).read_text(encoding="utf-8"))
    inside = (n for n in tree.body if isinstance(n, ast.ClassDef))
    return next((n.name for n in inside if n.lineno <= call.line <= (n.end_lineno or 0)), "")


OF_THE_MACHINE = {"torch", "torchvision"}
"""What the vendor's image brings: pip would replace it."""
BY_HAND = "taming-transformers"
PACKAGES = {"PIL": "pillow", "yaml": "pyyaml", "taming": "taming-transformers"}
"""Import name -> its distribution's, where they differ."""


def test_requirements_name_what_inference_imports_and_no_more(served: Served) -> None:
    folder = folder_of(served, PORT, LEVELS.index("requirements"))
    scripts = ("txt2img", "img2img", "inpaint", "sample_diffusion")
    files = {f for s in scripts for f in imported(folder, f"scripts/{s}.py", CONFIGURED)}
    files |= set(imported(folder, "ldm/modules/losses/contperceptual.py"))
    tops = set()
    for file in files:
        for node in ast.walk(ast.parse((folder / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                tops |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                tops.add(node.module.partition(".")[0])
    vendors = {"habana_frameworks", "torch_npu"}
    training = {"pytorch_lightning"}  # ldm/lightning.py, where training has imported it
    imports = tops - set(sys.stdlib_module_names) - {"ldm"} - vendors - training
    lines = (folder / "requirements.txt").read_text().splitlines()
    names = {re.split(r"[\s<>=@]", line)[0] for line in lines if line and line[0] not in "#-"}
    found = {PACKAGES.get(name, name) for name in imports}
    assert found - OF_THE_MACHINE - {BY_HAND} == names - {"requests"}  # of taming's
    assert {*OF_THE_MACHINE, BY_HAND} <= found
    assert f"pip install --no-deps {BY_HAND}" in (folder / "requirements.txt").read_text()
