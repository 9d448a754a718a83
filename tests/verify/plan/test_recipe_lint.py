"""What `porter lint` says of recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.verify.plan.recipe_lint import lint_recipes
from porter.verify.plan.select import ports_with_recipes
from tests.small_port import SmallPort

ROOT = Path(__file__).parents[3]
CLAIMS = 'claims: [{outputs: "*", parity: {}}]\n'


@pytest.fixture
def port(port: SmallPort) -> SmallPort:
    """A port whose only patch adds a module in a folder, and changes another."""
    port.add_patch("one", {"src/helpers/device.py": "x = 1\n", "a.py": "a = 2\n"})
    return port


def rules(port: SmallPort) -> list[tuple[str, str]]:
    return [(f.file.rpartition("/")[2], f.rule) for f in lint_recipes(port.root, port.name)]


@pytest.mark.parametrize(
    ("probe", "is_found"),
    [
        ("from helpers.device import x\ndef run(probe): pass\n", True),
        ("def run(probe):\n    from src.helpers import device\n", True),
        ("import importlib\ndef run(probe): importlib.import_module('helpers.device')\n", True),
        ("def run(probe): check()\ndef check():\n    import helpers.device\n", True),
        ("import beside\ndef run(probe): beside.check()\n", True),
        ("def run(probe): import a, d.b\n", False),
        ("import beside\ndef run(probe): pass\n", False),
        ("def run(probe): pass\ndef other():\n    import helpers.device\n", False),
        ("def run(probe):\n    if probe.x: check()\ndef check(): import helpers.device\n", False),
        ("try: from helpers import device\nexcept ImportError: device = None\n", False),
    ],
)
def test_a_contract_claim_does_not_need_a_module_of_our_patches(
    port: SmallPort, probe: str, is_found: bool
) -> None:
    port.add_recipe("forward", CLAIMS, probe)
    beside = port.root / "recipes" / port.name / "beside.py"
    beside.write_text("def check():\n    import helpers.device\n")

    assert rules(port) == [("forward.yaml", "invented")] * is_found

    port.add_recipe("forward", f"contract: false\n{CLAIMS}", probe)
    assert rules(port) == [("forward.yaml", "contract")]


def test_the_finding_names_import_file_and_level(port: SmallPort) -> None:
    port.add_recipe("forward", CLAIMS, "def run(probe):\n    import helpers.device\n")

    (finding,) = lint_recipes(port.root, port.name)

    assert finding.severity == "error"
    assert "imports helpers.device (forward_probe.py:2)" in finding.text
    assert "src/helpers/device.py, which level one adds" in finding.text


def test_a_recipe_without_a_contract_claim_is_a_note(port: SmallPort) -> None:
    port.add_recipe("forward", CLAIMS.replace("{}}", "{}, contract: false}"), "def run(p): pass\n")

    (finding,) = lint_recipes(port.root, port.name)

    assert (finding.rule, finding.severity) == ("contract", "note")


def test_an_invalid_recipe_is_not_looked_at(port: SmallPort) -> None:
    port.add_recipe("forward", CLAIMS.replace("{}}", "{}, levels: [two]}"), "def run(p): pass\n")

    (finding,) = lint_recipes(port.root, port.name)

    assert (finding.rule, finding.severity) == ("coverage", "note")
    assert "forward.yaml:4: claims[0].levels: expected a level of small" in finding.text


@pytest.mark.parametrize("name", ports_with_recipes(ROOT))
def test_no_contract_claim_of_this_project_needs_a_module_of_our_patches(name: str) -> None:
    assert [finding for finding in lint_recipes(ROOT, name) if finding.rule != "contract"] == []
