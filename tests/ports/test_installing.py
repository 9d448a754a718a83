"""What the ports' pages and requirements files install: it runs, PyTorch stays, the scripts import.

A page's ``pip install`` lines are those of its Setup section. They run in an environment that has
this interpreter's PyTorch and nothing else, as on a machine whose image brings PyTorch. A line of
any other page that no test runs is listed here, with the reason.
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

PORTS = (
    "v-diffusion",
    "stable-diffusion",
    "ddpm-from-scratch",
    "diffusion-from-scratch",
    "diffusers",
)
_LINE = re.compile(r"^ {4,}(pip install .*)$", re.M)
_REPLACES_TORCH = re.compile(r"(?<![\w-])(torch|torchvision|torchaudio)(?![\w-])")
_TORCHVISION = (
    "import sys, types; "
    "sys.modules['torchvision._meta_registrations'] = types.ModuleType('_meta_registrations')"
)
"""PyPI's torchvision fails beside a PyTorch without CUDA unless this module is empty."""

Case = tuple[str, str, list[str], tuple[str, ...]]
"""A port, a level, the lines to run, and what must import afterwards."""
COMPANIONS = {"diffusers": ("accelerate",)}
"""Ports that ``porter apply`` writes beside a port's tree."""
SD_SCRIPTS = tuple(f"scripts/{n}.py" for n in ("txt2img", "img2img", "inpaint", "sample_diffusion"))
DIFFUSERS_SCRIPTS = (
    "examples/text_to_image/train_text_to_image.py",
    "examples/textual_inversion/textual_inversion.py",
    "examples/dreambooth/train_dreambooth.py",
    "examples/dreambooth/train_dreambooth_lora.py",
    "examples/controlnet/train_controlnet.py",
    "examples/device_inference/text_to_image.py",
    "examples/device_inference/image_to_image.py",
    "examples/device_inference/inpaint.py",
    "examples/device_inference/depth_to_image.py",
    "examples/device_inference/textual_inversion.py",
    "examples/device_inference/unconditional.py",
)
SMALL_TRAINING = """
model:
  base_learning_rate: 1.0e-4
  target: ldm.models.diffusion.ddpm.DDPM
  params: {timesteps: 4, first_stage_key: image, image_size: 8, channels: 3, unet_config: {
    target: ldm.modules.diffusionmodules.openaimodel.UNetModel,
    params: {image_size: 8, in_channels: 3, out_channels: 3, model_channels: 32, num_res_blocks: 1,
      attention_resolutions: [], channel_mult: [1], num_heads: 1}}}
data:
  target: main.DataModuleFromConfig
  params: {batch_size: 2, num_workers: 0, train: {target: pictures.Squares}}
lightning:
  callbacks: {cuda_callback: {target: pytorch_lightning.callbacks.Callback}}
  trainer: {max_epochs: 1}
"""
PICTURES = """
import numpy as np

class Squares:
    def __len__(self):
        return 4

    def __getitem__(self, at):
        return {"image": np.full((8, 8, 3), at / 4, dtype=np.float32)}
"""
_TOLD_NOT_TO = "the page says what it does, and to run another one"
_EXTRA = "installs porter's own package; that it has the extra is compared below"
NOT_RUN = {
    ("README.md", "pip install -e '.[hpu]'"): "the vendor's package is on no public index",
    ("docs/cache.md", "pip install 'porter[remote]'"): _EXTRA,
    ("docs/cluster.md", "pip install 'porter[ray]'"): _EXTRA,
    ("docs/ports/ddpm-from-scratch.md", "pip install -r requirements.txt"): _TOLD_NOT_TO,
    ("docs/ports/diffusers.md", "pip install -e ."): _TOLD_NOT_TO,
    (
        "docs/ports/diffusers.md",
        "pip install -r examples/text_to_image/requirements.txt",
    ): _TOLD_NOT_TO,
    ("docs/ports/diffusion-from-scratch.md", "pip install -r requirements.txt"): _TOLD_NOT_TO,
    ("docs/ports/stable-diffusion.md", "pip install -r"): _TOLD_NOT_TO,
    ("docs/ports/v-diffusion.md", "pip install -r requirements.txt"): _TOLD_NOT_TO,
}
"""Lines of pages that neither a test nor CI runs, and why."""


def pip_lines(port: str) -> list[str]:
    """Return the lines of a page's Setup section that call pip, without their comments."""
    page = (PROJECT / "docs" / "ports" / f"{port}.md").read_text(encoding="utf-8")
    setup = page.partition("\n## Setup\n")[2].partition("\n## ")[0]
    return [line.partition("    #")[0].strip() for line in _LINE.findall(setup)]


def shown_lines(text: str) -> set[str]:
    """Return the pip lines in a page's blocks and between its backticks."""
    found = re.findall(r"^(?:(?: {4,}|\t).*?|\$ )?\b(pip install .*)$", text, re.M)
    found += re.findall(r"`[^`\n]*?\b(pip install [^`\n]*)`", text)
    parts = [part for line in found for part in re.split(r" && |  +# ", line)]
    return {part.strip() for part in parts if part.startswith("pip install")}


def lines_that_ci_runs() -> set[str]:
    """Return the pip lines of the workflows and of README.md's set-up commands."""
    readme = [sys.executable, str(PROJECT / ".ci" / "readme_lines.py")]
    text = subprocess.run(readme, capture_output=True, text=True, check=True).stdout
    for path in (PROJECT / ".github" / "workflows").glob("*.yml"):
        text += path.read_text(encoding="utf-8")
    lines = [part for line in text.splitlines() for part in line.split(" && ")]
    return {match[0] for match in map(re.compile(r"\bpip install .*").search, lines) if match}


def cases() -> Iterator[Case]:
    vdiff, sd, ddpm, dfs, diffusers = (pip_lines(port) for port in PORTS)
    scripts = ("cfg_sample.py", "clip_sample.py", "cfg_modify_image.py")
    yield "v-diffusion", "report", vdiff, scripts
    exact = [line for line in vdiff if "torchvision" in line]
    file, taming, old, taming_too, training = sd
    yield "stable-diffusion", "defaults", [*exact, file, taming], SD_SCRIPTS
    yield "stable-diffusion", "randn-to-cpu", [*exact, old, taming_too], SD_SCRIPTS
    yield "stable-diffusion", "requirements", [*exact, file, taming, training], ("main.py",)
    yield "ddpm-from-scratch", "report", ddpm, ("src/train.py",)
    yield "diffusion-from-scratch", "report", dfs, ("src/train.py", "src/infer.py")
    yield "diffusers", level_names("diffusers")[-1], diffusers, DIFFUSERS_SCRIPTS


def test_no_line_of_a_page_and_no_file_of_a_patch_can_replace_pytorch() -> None:
    for port in PORTS:
        lines = pip_lines(port)
        assert lines, port
        for line in lines:
            packages = line.partition(" -c '")[0] + line.rpartition("')")[2]
            if " -e " in packages:
                assert "--no-deps" in line, line
            if _REPLACES_TORCH.search(packages):
                assert re.search(r"--no-deps .*==0\.", line), line
        for patch in load_series(PROJECT, port).patches:
            for file in patch.files:
                if re.search(rb"requirements\.txt$", bytes(file.path)):
                    added = [ln for hunk in file.hunks for ln in hunk.lines if ln[:1] == b"+"]
                    wrong = [ln for ln in added if re.match(rb"\+(torch|torchvision)\b", ln)]
                    assert not wrong, (patch.name, wrong)


def test_every_pip_line_of_a_page_is_run_or_has_a_reason() -> None:
    run: dict[str, set[str]] = {}
    for port, _, lines, _ in cases():
        run.setdefault(f"docs/ports/{port}.md", set()).update(lines)
    by_ci = lines_that_ci_runs()

    left = {
        (name, line)
        for page in (PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md"))
        for name in [str(page.relative_to(PROJECT))]
        for line in shown_lines(page.read_text(encoding="utf-8")) - by_ci - run.get(name, set())
    }

    assert left == NOT_RUN.keys()


def test_the_extras_that_pages_name_are_porters() -> None:
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    extras = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    named = {line[:-1].rpartition("[")[2][:-1] for _, line in NOT_RUN if line.endswith("]'")}

    assert named == {"hpu", "ray", "remote"}
    assert named <= {*re.findall(r"^(\w+) = ", extras, re.M)}


def test_the_cases_are_levels_of_their_ports() -> None:
    for port, level, lines, _ in cases():
        assert level in level_names(port)
        assert all(line.startswith("pip install ") for line in lines)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # pip brings some 300 MB
@pytest.mark.upstream
@pytest.mark.parametrize("case", list(cases()), ids=lambda case: f"{case[0]}-{case[1]}")
def test_the_lines_run_pytorch_stays_and_the_scripts_import(
    served: Served, tmp_path: Path, case: Case
) -> None:
    port, level, lines, scripts = case
    for name in (port, *COMPANIONS.get(port, ())):
        served.upstream(name, *load_pins(PROJECT).port(name).wanted)
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
    if scripts == ("main.py",):
        train_a_little(python, tree, tmp_path, env)
    if port == "diffusers":
        places = asked(python, "import accelerate as a, diffusers as d; print(a, d)")
        assert f"{tmp_path}/accelerate/src/" in places
        assert f"{tree}/src/" in places


def train_a_little(python: Path, tree: Path, work: Path, env: dict[str, str]) -> None:
    """Train a small model by main.py on the CPU, for two steps; it leaves a checkpoint."""
    (work / "small.yaml").write_text(SMALL_TRAINING)
    (work / "pictures.py").write_text(PICTURES)
    env = env | {"PYTHONPATH": f"{tree}:{work}", "OMP_NUM_THREADS": "1"}
    words = ["--base", work / "small.yaml", "-t", "True", "--no-test", "True", "-l", work / "logs"]
    subprocess.run([python, "main.py", *words], cwd=tree, env=env, check=True)
    assert list(work.glob("logs/*/checkpoints/last.ckpt"))


def make_environment(home: Path) -> Path:
    """Make a virtual environment with this interpreter's torch; return its Python."""
    venv.EnvBuilder(symlinks=True, with_pip=False).create(home)
    (packages,) = home.glob("lib/python*/site-packages")
    folders = write_layer(find_layer(), home / "layer")
    for folder in folders:  # a page's line may ask for another one, and pip cannot remove a link
        other = ("setuptools", "fsspec")
        for found in (f for name in other for f in Path(folder).glob(f"{name}-*.dist-info")):
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
