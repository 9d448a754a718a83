"""What the ports' pages and requirements files install: it runs, PyTorch stays, the scripts import.

A page's ``pip install`` lines are those of its Setup section. They run in an environment that has
this interpreter's PyTorch and nothing else, as on a machine whose image brings PyTorch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.series.series import load_series
from porter.upstream.pins import load_pins
from porter.verify.environment.torch_layer import find_layer, write_layer
from tests.conftest import PROJECT
from tests.ports.port_trees import level_names
from tests.served import Served

PORTS = ("v-diffusion", "stable-diffusion", "ddpm-from-scratch", "diffusion-from-scratch")
_LINE = re.compile(r"^ {4,}(pip install .*)$", re.M)
_REPLACES_TORCH = re.compile(r"(?<![\w-])(torch|torchvision|torchaudio)(?![\w-])")
_TORCHVISION = (
    "import sys, types; "
    "sys.modules['torchvision._meta_registrations'] = types.ModuleType('_meta_registrations')"
)
"""PyPI's torchvision fails beside a PyTorch without CUDA unless this module is empty."""

Case = tuple[str, str, list[str], tuple[str, ...]]
"""A port, a level, the lines to run, and what must import afterwards."""
SD_SCRIPTS = tuple(f"scripts/{n}.py" for n in ("txt2img", "img2img", "inpaint", "sample_diffusion"))


def pip_lines(port: str) -> list[str]:
    """Return the lines of a page's Setup section that call pip, without their comments."""
    page = (PROJECT / "docs" / "ports" / f"{port}.md").read_text(encoding="utf-8")
    setup = page.partition("\n## Setup\n")[2].partition("\n## ")[0]
    return [line.partition("    #")[0].strip() for line in _LINE.findall(setup)]


def cases() -> Iterator[Case]:
    vdiff, sd, ddpm, dfs = (pip_lines(port) for port in PORTS)
    scripts = ("cfg_sample.py", "clip_sample.py", "cfg_modify_image.py")
    yield "v-diffusion", "report", vdiff, scripts
    exact = [line for line in vdiff if "torchvision" in line]
    file, taming, old, taming_too = sd
    yield "stable-diffusion", "defaults", [*exact, file, taming], SD_SCRIPTS
    yield "stable-diffusion", "randn-to-cpu", [*exact, old, taming_too], SD_SCRIPTS
    yield "ddpm-from-scratch", "report", ddpm, ("src/train.py",)
    yield "diffusion-from-scratch", "report", dfs, ("src/train.py", "src/infer.py")


def test_no_line_of_a_page_and_no_file_of_a_patch_can_replace_pytorch() -> None:
    for port in PORTS:
        lines = pip_lines(port)
        assert lines, port
        for line in lines:
            packages = line.partition(" -c '")[0] + line.rpartition("')")[2]
            if _REPLACES_TORCH.search(packages):
                assert re.search(r"--no-deps .*==0\.", line), line
        for patch in load_series(PROJECT, port).patches:
            for file in patch.files:
                if re.search(rb"requirements\.txt$", bytes(file.path)):
                    added = [ln for hunk in file.hunks for ln in hunk.lines if ln[:1] == b"+"]
                    wrong = [ln for ln in added if re.match(rb"\+(torch|torchvision)\b", ln)]
                    assert not wrong, (patch.name, wrong)


def test_the_cases_are_levels_of_their_ports() -> None:
    for port, level, lines, _ in cases():
        assert level in level_names(port)
        assert all(line.startswith("pip install ") for line in lines)


@pytest.mark.slow
@pytest.mark.timeout(900)  # pip brings some 300 MB
@pytest.mark.upstream
@pytest.mark.parametrize("case", list(cases()), ids=lambda case: f"{case[0]}-{case[1]}")
def test_the_lines_run_pytorch_stays_and_the_scripts_import(
    served: Served, tmp_path: Path, case: Case
) -> None:
    port, level, lines, scripts = case
    served.upstream(port, *load_pins(PROJECT).port(port).wanted)
    tree = tmp_path / "tree"
    subprocess.run(
        [sys.executable, "-m", "porter", "apply", port, str(tree), "--level", level],
        check=True, cwd=PROJECT,
    )  # fmt: skip
    home = tmp_path / "venv"
    python = make_environment(home)
    before = asked(python, "import torch; print(torch.__version__, torch.__file__)")
    wrapper = tmp_path / "bin"
    wrapper.mkdir()
    pip = f'#!/bin/sh\nexec "{sys.executable}" -m pip --python "{python}" "$@"\n'
    (wrapper / "pip").write_text(pip)
    (wrapper / "pip").chmod(0o755)
    env = os.environ | {"PATH": f"{wrapper}:{home / 'bin'}:{os.environ['PATH']}"}
    env.pop("PYTHONPATH", None)
    for line in lines:
        subprocess.run(["bash", "-c", line], cwd=tree, env=env, check=True)
    assert asked(python, "import torch; print(torch.__version__, torch.__file__)") == before
    env["PYTHONPATH"] = str(tree)
    for script in scripts:
        done = subprocess.run(
            [str(python), script, "--help"], cwd=tree, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{script}: {done.stderr[-2000:]}"
    if port == "stable-diffusion":
        asked(python, "from taming.modules.vqvae.quantize import VectorQuantizer2")


def make_environment(home: Path) -> Path:
    """Make a virtual environment with this interpreter's torch; return its Python."""
    venv.EnvBuilder(symlinks=True, with_pip=False).create(home)
    (packages,) = home.glob("lib/python*/site-packages")
    folders = write_layer(find_layer(), home / "layer")
    for folder in folders:  # a page's line may ask for another one, and pip cannot remove a link
        for found in Path(folder).glob("setuptools-*.dist-info"):
            shutil.rmtree(found) if not found.is_symlink() else found.unlink()
    lines = [*map(str, folders), _TORCHVISION]
    (packages / "torch-of-the-machine.pth").write_text("\n".join(lines) + "\n")
    return home / "bin" / "python"


def asked(python: Path, code: str) -> str:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, json.dumps(done.stderr[-2000:])
    return done.stdout
