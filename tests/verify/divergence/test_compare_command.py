"""``porter compare`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from porter.cli import main
from tests.verify.folder_trees import FolderTrees, write_recipe

LAYER = """
    import torch
    class Scale(torch.nn.Module):
        def forward(self, x):
            return {} * 3
    """
PROBE = """
    from upstream_code import Scale
    def run(probe):
        probe.record("y", Scale()(probe.normal("x", 20)))
    """
RECIPE = """
    claims: [{outputs: "*", parity: {}}]
    dtypes: [float32, float16]
    vary: {size: [1, 2]}
    """


@pytest.fixture
def project(root: Path, trees: FolderTrees) -> Path:
    """A project with one port, whose level ``wrong`` departs."""
    layers = {"upstream": "x", "same": "(x + 0)", "wrong": "x.half().float()"}
    trees.add("p", **{name: LAYER.format(code) for name, code in layers.items()})
    trees.add("broken", upstream=LAYER.format("x"), gone="")
    for port in ("p", "broken"):
        write_recipe(root, port, "one", RECIPE, PROBE)
    write_recipe(root, "p", "two", RECIPE, PROBE)
    return root


def test_the_place_is_told_in_words(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "p", "upstream", "wrong", "--recipe", "one"]) == 1

    printed = capsys.readouterr().out
    head = "p/one: wrong against upstream on cpu, float32, seed 0, size 1"
    assert printed.splitlines()[0] == head
    assert "held to upstream in float64 on cpu" in printed
    assert "first divergence: output of Scale, call 0" in printed
    assert "called at probe/one_probe.py:4: probe.record(" in printed
    assert "the fault is in the own code of Scale" in printed
    assert "ops that upstream does not run, just before" in printed
    assert "  aten._to_copy.default(%0, dtype=float16) at upstream_code.py:5" in printed
    assert "      return x.half().float() * 3" in printed


def test_json_says_everything(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "p", "upstream", "wrong", "--recipe", "two", "--where", "size=2"]
    assert main([*command, "--json", "--dtype", "float32"]) == 1

    found = json.loads(capsys.readouterr().out)
    assert found["variant"] == {"size": 2}
    assert found["departs"]
    assert (found["module"]["fault_in"], found["module"]["what"]) == ("Scale", "output")
    assert [op["name"] for op in found["op"]["only_second"]] == ["aten._to_copy.default"] * 2
    assert found["second"]["name"] == "wrong"


def test_no_divergence_is_exit_code_0_also_across_devices(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "p", "same", "same@sim:hpu", "--recipe", "one"]) == 0

    printed = capsys.readouterr().out
    assert "p/one: same on sim:hpu against same on cpu, float32" in printed
    assert "no divergence: rounding explains every difference" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["p", "0", "2"], "p: which recipe? --recipe one | two"),
        (["p", "0", "2", "--recipe", "three"], "expected one of one, two"),
        (["p", "0", "7", "--recipe", "one"], "no level '7'"),
        (["p", "0", "0", "--recipe", "one"], "are the same run"),
        (["p", "0", "2", "--recipe", "one", "--dtype", "int8"], "expected one of float32, float16"),
        (["p", "0", "2@tpu", "--recipe", "one"], "expected one of cpu, cuda"),
        (["p", "0", "2", "--recipe", "one", "--where", "width=2"], "the recipe one varies size"),
        (["p", "0", "2", "--recipe", "one", "--where", "size=3"], "expected one of 1, 2"),
        (["p", "0", "2", "--recipe", "one", "--where", "size"], "expected NAME=VALUE"),
        (["p", "0", "2", "--recipe", "one", "--factor", "0"], "--factor of at least 1"),
        (["q", "0", "2"], "q: no recipes for it"),
    ],
)
def test_wrong_requests_are_told_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["compare", *arguments]) == 2

    assert message in capsys.readouterr().err


def test_a_level_that_does_not_run_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "broken", "upstream", "gone"]) == 1

    message = capsys.readouterr().err
    assert "level 1 gone on cpu does not run: ImportError: cannot import name 'Scale'" in message
