"""The stable-diffusion port: its series by hand, its logs, its requirements."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.series.series import load_series
from porter.upstream.pins import load_pins
from porter.verify.trees import NotReachable
from porter.verify.upstream_trees import UpstreamTrees, open_trees
from tests.conftest import PROJECT
from tests.ports.cuda_calls import CudaCall, cuda_calls, imported

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
LEVELS = ["upstream", *(patch.header.level for patch in load_series(PROJECT, PORT).patches)]
_SITE = re.compile(r"^(\S+):(\d+)$")

pytestmark = pytest.mark.upstream


@pytest.fixture
def trees() -> Iterator[UpstreamTrees]:
    with open_trees(PROJECT) as opened:
        try:
            opened.levels(PORT)
        except NotReachable as error:
            pytest.skip(str(error))
        yield opened


def folder_of(trees: UpstreamTrees, level: int) -> Path:
    patches = load_series(PROJECT, PORT).patches
    touched = {path.decode() for p in patches for file in p.files for path in file.paths}
    needs = (*load_pins(PROJECT).port(PORT).wanted, *sorted(touched))
    return trees.folder(PORT, trees.levels(PORT)[level], needs)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_git_apply_by_hand_makes_the_same_levels(trees: UpstreamTrees, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(folder_of(trees, 0), work)
    subprocess.run(["chmod", "-R", "u+w", work], check=True)
    for number, patch in enumerate(load_series(PROJECT, PORT).patches, 1):
        subprocess.run(["git", "apply", patch.path], cwd=work, check=True)
        assert contents(work) == contents(folder_of(trees, number)), patch.name


def logged(level: int, device: str) -> set[tuple[str, int]]:
    name = f"{level}-{LEVELS[level]}.{device}.txt"
    text = (PROJECT / "migration_logs" / PORT / name).read_text(encoding="utf-8")
    found = (_SITE.match(line) for line in text.splitlines())
    return {(match[1], int(match[2])) for match in found if match}


def calls_of(folder: Path) -> list[CudaCall]:
    files = imported(folder, SCRIPT, CONFIGURED)
    assert len(files) > 10, files
    return [c for f in files for c in cuda_calls(folder, f, is_main=f == SCRIPT)]


@pytest.mark.parametrize("device", ["sim-hpu", "sim-npu"])
@pytest.mark.parametrize("level", range(len(LEVELS)), ids=LEVELS)
def test_every_reachable_cuda_call_is_in_the_log(
    trees: UpstreamTrees, level: int, device: str
) -> None:
    folder = folder_of(trees, level)
    calls = calls_of(folder)
    assert len(calls) >= 10
    missing = missing_from(logged(level, device), calls, folder)
    assert not missing, "\n".join(f"{c.file}:{c.line}: {c.source}" for c in missing)


def missing_from(
    there: set[tuple[str, int]], calls: list[CudaCall], folder: Path
) -> list[CudaCall]:
    unexcused = (c for c in calls if not EXCUSED.keys() & {c.file, _class_at(folder, c)})
    return [c for c in unexcused if not c.is_in(there)]


def test_a_line_that_leaves_the_log_is_missed(trees: UpstreamTrees) -> None:
    folder, there = folder_of(trees, 0), logged(0, "sim-hpu")
    calls = calls_of(folder)
    needed = [s for s in sorted(there) if missing_from(there - {s}, calls, folder)]
    assert len(needed) >= 8
    assert (SCRIPT, 40) in needed
    assert ("ldm/models/diffusion/plms.py", 22) in needed


def test_the_calls_of_the_pinned_tree_are_those_that_are_known(trees: UpstreamTrees) -> None:
    found = {(c.file, c.line) for c in calls_of(folder_of(trees, 0))}
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


PACKAGES = {"PIL": "pillow", "yaml": "pyyaml", "taming": "taming-transformers"}
"""Import name -> its distribution's, where they differ."""


def test_requirements_name_what_inference_imports_and_no_more(trees: UpstreamTrees) -> None:
    folder = folder_of(trees, LEVELS.index("requirements"))
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
    assert {PACKAGES.get(name, name) for name in imports} == names - {"requests"}  # of taming's
