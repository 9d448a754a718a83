"""``porter verify --device hpu``: a card is held to the claims of its simulated twin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from porter.cli import main
from porter.errors import BadInput
from porter.verify.plan.matrix import RunSpec
from tests.verify.card import install_card
from tests.verify.folder_trees import FolderTrees, write_recipe
from tests.verify.judging import judged, planned

CODE = """
    import os
    SPEED = 1.0
    def f(x):
        return x * 3 + float(os.environ.get("PT_TEST_ADDED", "0"))
    """
PROBE = """
    import torch
    from upstream_code import SPEED, f
    def run(probe):
        with probe.section("call"):
            probe.record("y", f(probe.normal("x", 9)))
        probe.count("asked", 1)
        rates = [100.0, 101.0, 99.0, 100.5, 99.5, 100.2]
        probe.record("rates", torch.tensor(rates, dtype=torch.float64) * SPEED)
    """
RECIPE = """\
    devices: ["sim:hpu"]
    dtypes: [float32]
    environ: {"sim:hpu": {PT_TEST_ADDED: "0.0"}}
    claims:
      - {outputs: y, parity: {}}
      - {outputs: rates, finite: {}}
      - {counters: asked, devices: ["sim:hpu"], equal: 1}
      - {counters: call/ops, devices: ["sim:hpu"], at_least: 1}
      - {throughput: rates, ratio: {level: upstream, at_least: 1.5}}
    """


@pytest.fixture
def project(root: Path, trees: FolderTrees) -> Path:
    """A project whose port's level 1 is twice as fast as level 0; its trees hold the package."""
    trees.add("port", upstream=CODE, faster=CODE.replace("1.0", "2.0"))
    for level in trees.ports["port"]:
        install_card(level.folder)
    write_recipe(root, "port", "one", RECIPE, PROBE)
    return root


def verdicts(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main(["verify", "port", "--json", *words]) == 0
    (result,) = json.loads(capsys.readouterr().out)["recipes"]
    return [verdict for verdict in result["verdicts"] if verdict["level"] == 1]


@pytest.mark.slow
def test_the_whole_path_on_a_stand_in_for_a_card(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = verdicts(capsys, "--device", "hpu")

    words = {verdict["output"]: verdict["verdict"] for verdict in found}
    assert {verdict["device"] for verdict in found} == {"hpu"}
    assert words == {"y": "pass", "asked": "pass", "call/ops": "skipped", "rates": "pass"}
    (skipped,) = (verdict for verdict in found if verdict["verdict"] == "skipped")
    assert "not judged: hpu counts nothing by itself; sim:hpu does" in json.dumps(skipped)
    assert sum(verdict["subject"] == "throughput" for verdict in found) == 1


@pytest.mark.slow
def test_without_the_name_the_card_is_left_alone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = verdicts(capsys)

    assert {verdict["device"] for verdict in found} == {"sim:hpu"}
    words = {verdict["output"]: verdict["verdict"] for verdict in found}
    assert words["call/ops"] == "pass"
    assert [v["verdict"] for v in found if v["subject"] == "throughput"] == ["skipped"]


def gives(spec: RunSpec) -> dict[str, Any]:
    """What each run of the recipe gives, made up: a card counts only what the probe does."""
    speed = 1.0 + spec.level
    made = {
        "y": torch.tensor([1.0, 2.0, 3.0], dtype=getattr(torch, spec.dtype)),
        "rates": torch.tensor([100.0, 101.0, 99.0, 100.5, 99.5], dtype=torch.float64) * speed,
        "asked": 1,
    }
    return made | ({"call/ops": 2} if spec.device.startswith("sim:") else {})


def test_the_twins_claims_hold_on_a_card_and_its_counters_are_not_judged(tmp_path: Path) -> None:
    found = judged(tmp_path, RECIPE, gives, levels=2, devices="hpu")

    at = {verdict.output: verdict for verdict in found if verdict.level == 1}
    assert {name: verdict.word for name, verdict in at.items()} == {
        "y": "pass", "asked": "pass", "call/ops": "skipped", "rates": "pass",
    }  # fmt: skip
    assert at["call/ops"].detail == "not judged: hpu counts nothing by itself; sim:hpu does"
    assert {verdict.device for verdict in at.values()} == {"hpu"}
    plan = planned(tmp_path / "again", RECIPE, levels=2, devices="hpu")
    assert plan.loaded.recipe.environ_on("hpu") == {"PT_TEST_ADDED": "0.0"}


@pytest.mark.parametrize("other", ["npu", "cuda"])
def test_a_card_without_a_twin_in_the_recipe_is_refused(tmp_path: Path, other: str) -> None:
    with pytest.raises(BadInput, match="no selected recipe runs there; they run on sim:hpu"):
        planned(tmp_path, RECIPE, devices=other)
