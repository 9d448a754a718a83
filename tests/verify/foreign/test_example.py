"""The example of docs/judging-a-tree.md: one command finds each wrong tree, and passes a right
one."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from porter.cli import main
from porter.verify.cache.store import Places
from tests.conftest import PROJECT
from tests.served import Served

SCRIPT = PROJECT / "docs" / "judging-a-tree" / "trees.py"
IMAGES = {f"{case}/out_0000{n}.ppm" for case, n in [("batches", 0), ("batches", 1), ("batches", 2)]}
IMAGES |= {f"{case}/out_00000.ppm" for case in ("plain", "size", "noise")}
BAD = {
    "right": {},
    "schedule-one-short": {
        "sampler cpu": {"schedule", "image", "model-calls"},
        "script cpu": IMAGES,
        "script sim:hpu": IMAGES,
    },
    "last-batch-lost": {
        "script cpu": {"batches/files", "batches/out_00002.ppm"},
        "script sim:hpu": {"batches/files", "batches/out_00002.ppm"},
    },
    "draw-in-graph": {"script sim:hpu": {"noise/out_00000.ppm"}},
    "fixed-size-norm": {"script cpu": {"size"}, "script sim:hpu": {"size"}},
    "mandatory-import": {"script cpu": {"batches", "noise", "plain", "size"}},
}
"""By tree: recipe and device, and what of it fails."""


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that the page's script writes; its runs of upstream are made once."""
    folder = tmp_path_factory.mktemp("example") / "little"
    own = {key: value for key, value in os.environ.items() if not key.startswith("PORTER_")}
    own["PORTER_CACHE"] = str(folder.parent / "cache")
    subprocess.run([sys.executable, SCRIPT, "little", folder], check=True, env=own)
    return folder


@pytest.mark.parametrize("name", list(BAD))
def test_one_command_finds_the_mistake(
    little: Path,
    environments: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    runs = little.parent
    places = Places(environments, runs / "traces", runs / "runs")
    monkeypatch.setattr(Places, "under", staticmethod(lambda _: places))
    monkeypatch.setenv("PORTER_CACHE", str(runs / "cache"))
    monkeypatch.setenv("PORTER_ROOT", str(little))
    capsys.readouterr()

    code = main(["verify", "little", "--tree", str(little / "trees" / name), "--json"])

    found: dict[str, set[str]] = {}
    for recipe in json.loads(capsys.readouterr().out)["recipes"]:
        for v in recipe["verdicts"]:
            if v["verdict"] in ("fail", "error"):
                found.setdefault(f"{recipe['recipe']} {v['device']}", set()).add(v["output"])
    assert found == BAD[name]
    assert code == (1 if BAD[name] else 0)


def test_there_are_five_wrong_trees() -> None:
    script = the_script()

    assert set(script.LITTLE) == set(script.V_DIFFUSION) == set(BAD)
    assert sum(bool(bad) for bad in BAD.values()) == 5


@pytest.mark.upstream
def test_the_mistakes_fit_the_last_level_of_v_diffusion(served: Served, tmp_path: Path) -> None:
    ported = served.folder("v-diffusion", -1, "diffusion/", "cfg_sample.py")

    the_script().make_trees(ported, tmp_path / "trees", the_script().V_DIFFUSION)

    for tree in (tmp_path / "trees").iterdir():
        files = [path for path in ported.rglob("*.py") if path.is_file()]
        changed = [
            (tree / path.relative_to(ported)).read_text(encoding="utf-8")
            for path in files
            if (tree / path.relative_to(ported)).read_bytes() != path.read_bytes()
        ]
        assert len(changed) == (tree.name != "right")
        for text in changed:
            compile(text, tree.name, "exec")


def the_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("judging_a_tree", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
