"""`porter add UPSTREAM -- COMMAND`: the recipe of a command, its probe and its environment."""

from __future__ import annotations

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from porter.draft.recipe_claims import CUDA_LINE, DRAFT_LINE
from porter.errors import BadInput
from porter.project import script_recipe
from porter.project.script_recipe import read_command
from porter.verify.recipe.load import load_recipe
from tests.project.conftest import Porter, make_repository

SAMPLE = """\
import argparse

import numpy
import torch

from net.layers import Net

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=2)
parser.add_argument("--ckpt", default="net.pt")
args = parser.parse_args()
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
net = Net(4)
net.load_state_dict(torch.load(args.ckpt, map_location="cpu"))
net.to(device)
torch.manual_seed(0)
x = torch.randn(2, 4, device=device)
with torch.no_grad():
    for _ in range(args.steps):
        x = x - 0.1 * net(x)
print("steps", args.steps, "mean", x.mean().item())
torch.save({"x": x.cpu()}, "out.pt")
"""
LAYERS = """\
import torch


class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = torch.nn.Linear(width, width)

    def forward(self, x):
        return self.linear(x).tanh()
"""
FILES = {"scripts/sample.py": SAMPLE, "net/layers.py": LAYERS, "config/a.txt": "a\n"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An upstream with a script that samples."""
    make_repository(tmp_path / "model", FILES)
    return tmp_path / "model"


@pytest.fixture
def probe() -> ModuleType:
    """The probe that is written for a command, as a module."""
    path = Path(script_recipe.__file__).with_name("run_script.py.txt")
    loader = SourceFileLoader("run_script", str(path))
    spec = importlib.util.spec_from_loader("run_script", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("words", "arguments", "steps"),
    [
        ("python a.py --steps 4", ("--steps", "{steps}"), 4),
        ("-- python3 ./a.py --max_iters=6 --seed=1", ("--max_iters={steps}", "--seed=1"), 6),
        ("a.py --timestep-respacing 8 --steps 2", ("--timestep-respacing", "{steps}", "--steps",
         "2"), 8),
        ("a.py {x}", ("{{x}}",), None),
    ],
)  # fmt: skip
def test_the_option_that_numbers_the_steps_is_found(
    words: str, arguments: tuple[str, ...], steps: int | None
) -> None:
    command = read_command(words.split(), {"a.py": b""})

    assert (command.script, command.arguments, command.steps) == ("a.py", arguments, steps)


def test_variables_stand_before_and_the_option_can_be_named() -> None:
    command = read_command(["OUT=o", "python", "a.py", "-n", "3"], {"a.py": b""}, "-n")

    assert (command.environ, command.option, command.steps) == ({"OUT": "o"}, "n", 3)


@pytest.mark.parametrize("words", [[], ["python"], ["make", "all"], ["b.py"]])
def test_what_is_no_script_is_refused(words: list[str]) -> None:
    with pytest.raises(BadInput, match=r"COMMAND|no such file"):
        read_command(words, {"a.py": b""})
    with pytest.raises(BadInput, match="--steps n"):
        read_command(["a.py"], {"a.py": b""}, "n")


def test_a_recipe_runs_the_command_on_the_cpu_and_on_both_accelerators(
    root: Path, model: Path, porter: Porter
) -> None:
    line = "net.pt=net.layers.Net(4)"
    command = ["python", "scripts/sample.py", "--steps", "2", "--ckpt", "net.pt"]
    done = porter("add", model, "--factory", line, "--", *command, cwd=root)

    assert (done.code, done.err) == (0, "")
    assert "steps 2 and 4" in " ".join(done.out.replace("steps:", "").split())
    loaded = load_recipe(root / "recipes/model/sample.yaml")
    recipe = loaded.recipe
    assert recipe.devices == ("cpu", "sim:hpu", "sim:npu")
    assert recipe.needs == ("net/", "scripts/")
    assert recipe.vary == {"steps": (2, 4)}
    assert recipe.parameters["factories"] == {"net.pt": "net.layers.Net(4)"}
    text = (root / "recipes/model/sample.yaml").read_text()
    assert DRAFT_LINE in text
    assert CUDA_LINE not in text
    environment = (root / "recipes/environments/model.txt").read_text().splitlines()
    assert [row for row in environment if not row.startswith("#")] == ["pillow", "numpy"]
    assert porter("lint", cwd=root).code == 0


def test_upstream_that_stops_without_cuda_is_held_to_a_simulated_card(
    root: Path, tmp_path: Path, porter: Porter
) -> None:
    make_repository(tmp_path / "m", {"run.py": "import torch\nx = torch.ones(2, device='cuda')\n"})
    porter("add", tmp_path / "m", "--", "python", "run.py", cwd=root)

    assert f"{CUDA_LINE}\n" in (root / "recipes/m/run.yaml").read_text()


def test_a_script_of_ones_own_becomes_part_of_the_recipe(
    root: Path, model: Path, porter: Porter
) -> None:
    (root / "mine.py").write_text("import net.layers\n")
    porter("add", model, "--", "python", "mine.py", cwd=root)

    assert (root / "recipes/model/scripts/mine.py").read_text() == "import net.layers\n"
    assert "own_script: true" in (root / "recipes/model/mine.yaml").read_text()


def test_draft_adds_what_its_levels_gain(root: Path, model: Path, porter: Porter) -> None:
    porter("add", model, "--", "python", "scripts/sample.py", "--steps", "2", cwd=root)
    path = root / "recipes/model/sample.yaml"
    before = path.read_text()
    done = porter("draft", "model", cwd=root)

    assert "updated  recipes/model/sample.yaml" in done.out
    text = path.read_text()
    assert text.replace(text[text.index("  - counters") : text.index(f"  {DRAFT_LINE}")], "") == (
        before
    )
    assert "levels: {from: minimal}" in text
    assert "independent_of: steps" in text
    assert porter("matrix", "model", cwd=root).code == 0
    assert porter("undo", "model", cwd=root).code == 0
    assert path.read_text() == before


@pytest.mark.slow
def test_a_drafted_command_is_verified_on_a_simulated_device(
    root: Path, tmp_path: Path, porter: Porter
) -> None:
    make_repository(
        tmp_path / "m", {**FILES, "scripts/sample.py": SAMPLE.replace("import numpy\n", "")}
    )
    line = "net.pt=net.layers.Net(4)"
    command = ["python", "scripts/sample.py", "--steps", "2", "--ckpt", "net.pt"]
    porter("add", tmp_path / "m", "--factory", line, "--", *command, cwd=root)
    path = root / "recipes/m/sample.yaml"
    path.write_text(path.read_text().replace("environment: ../environments/m.txt\n", ""))
    porter("draft", "m", cwd=root)

    done = porter("verify", "m", "--level", "randn-to-cpu", "--device", "sim:hpu", cwd=root)

    assert done.code == 0, done.out + done.err
    for name in ("cpu_fallback", "device_draws", "compilations"):
        assert name in done.out


def test_options_of_a_command_need_one(root: Path, model: Path, porter: Porter) -> None:
    assert "found none" in porter("add", model, "--factory", "a=b", cwd=root).err
    for line in ("a", "/a=b", "../a=b"):
        done = porter("add", model, "--factory", line, "--", "scripts/sample.py", cwd=root)
        assert (done.code, "PATH=EXPRESSION" in done.err) == (2, True)


def test_texts_are_held_without_their_numbers(probe: ModuleType) -> None:
    assert probe._words("step 3: loss 1.2e-3,  time 12ms, on: True\n----\n") == (
        "step #: loss #, time #ms, on: #\n-"
    )
    assert probe._without_times("logs/2026-01-02-03-04-05/a.1.png") == "logs/TIME/a.1.png"


def hf_hub_download(repo_id: str, filename: str) -> None:
    raise ConnectionRefusedError("no network")


def load_dataset(path: str) -> None:
    hf_hub_download(path, "data.zip")


def test_a_download_is_refused_by_the_name_of_what_is_missing(probe: ModuleType) -> None:
    try:
        try:
            load_dataset("some/data")
        except OSError as error:
            raise RuntimeError("cannot load") from error
    except RuntimeError as error:
        said = probe._download(error)

    assert said.startswith("the command asks for 'some/data', and a run has no network")
    assert "--factory NAME=EXPRESSION" in said
    assert probe._download(ValueError("other")) == ""
