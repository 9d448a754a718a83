"""``porter verify --device hpu``: a card is held to the claims of its simulated twin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from porter.cli import main
from tests.verify.card import install_card
from tests.verify.folder_trees import FolderTrees, write_recipe

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


def test_the_twins_claims_hold_on_a_card_and_its_counters_are_not_judged(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = verdicts(capsys, "--device", "hpu")

    words = {verdict["output"]: verdict["verdict"] for verdict in found}
    assert {verdict["device"] for verdict in found} == {"hpu"}
    assert words == {"y": "pass", "asked": "pass", "call/ops": "skipped", "rates": "pass"}
    (skipped,) = (verdict for verdict in found if verdict["verdict"] == "skipped")
    assert "not judged: hpu counts nothing by itself; sim:hpu does" in json.dumps(skipped)
    assert sum(verdict["subject"] == "throughput" for verdict in found) == 1


def test_without_the_name_the_card_is_left_alone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = verdicts(capsys)

    assert {verdict["device"] for verdict in found} == {"sim:hpu"}
    words = {verdict["output"]: verdict["verdict"] for verdict in found}
    assert words["call/ops"] == "pass"
    assert [v["verdict"] for v in found if v["subject"] == "throughput"] == ["skipped"]
