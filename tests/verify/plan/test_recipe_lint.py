"""What `porter lint` says of recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.series import series
from porter.verify.plan.probe_parts import hidden_parts
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


def test_a_recipe_that_says_why_it_is_ours_is_no_note(port: SmallPort) -> None:
    port.add_recipe("forward", f'ours: "the report is ours"\n{CLAIMS}', "def run(p): pass\n")
    assert rules(port) == []

    claims = CLAIMS.replace("{}}", "{}, contract: true}")
    port.add_recipe("forward", f'ours: "the report is ours"\n{claims}', "def run(p): pass\n")
    (finding,) = lint_recipes(port.root, port.name)
    assert "contract: expected false, found true in a recipe that says `ours`" in finding.text


TWO = "probe.record('a', a())\n    probe.record('b', b())\n"


@pytest.mark.parametrize(
    ("body", "hidden"),
    [
        (TWO, "record at forward_probe.py:2, then record at forward_probe.py:3"),
        ("for n in 'ab':\n        probe.script(n)\n", "script at forward_probe.py:3, in a loop"),
        ("[probe.script(n) for n in 'ab']\n", "script at forward_probe.py:2, in a loop"),
        ("probe.launch(['a'])\n    probe.script('b')\n", "launch at forward_probe.py:2, then"),
        ("probe.count('a', a())\n    probe.count('b', b())\n", "count at forward_probe.py:2, then"),
        ("for n in 'ab': each(probe, n)\n", "record_image at forward_probe.py:9, in a loop"),
        ("beside.both(probe)\n", "record at beside.py:2, then record at beside.py:3"),
        ("with probe.attempt('a'):\n        probe.record('a', x)\n    probe.record('b', y)\n", ""),
        ("for n in 'ab':\n        with probe.attempt(n):\n            probe.record(n, f(n))\n", ""),
        ("for n in 'ab':\n        with alone(probe, n): probe.record(n, f(n))\n", ""),
        ("probe.script('a')\n    probe.record('a', a())\n    probe.count('n', 1)\n", ""),
        ("if x:\n        probe.record('a', a())\n        return\n    probe.record('b', b())\n", ""),
        ("for n in 'ab': pass\n    probe.record('a', a())\n", ""),
        ("x, y = a()\n    probe.record('a', x)\n    probe.record('b', torch.cat([y]))\n", ""),
        ("probe.script('a')\n    probe.record_files('a', 'x')\n    probe.record('b', y)\n", ""),
    ],
)  # fmt: skip
def test_a_part_that_another_would_hide_is_named(port: SmallPort, body: str, hidden: str) -> None:
    more = (
        "import beside\n"
        "@contextmanager\ndef alone(probe, name):\n    with probe.attempt(name): yield\n"
        "def each(probe, n): probe.record_image(n, f(n))\n"
    )
    lines = f"def run(probe):\n    {body}".splitlines()
    probe = "\n".join([*lines, *[""] * (4 - len(lines)), more])
    beside = port.root / "recipes" / port.name / "beside.py"
    port.add_recipe("forward", CLAIMS, probe)
    beside.write_text(f"def both(probe):\n    {TWO}")

    found = [finding for finding in lint_recipes(port.root, port.name) if finding.rule == "parts"]
    assert len(found) == bool(hidden)
    assert all(f"({hidden}" in finding.text and finding.severity == "error" for finding in found)

    port.add_recipe("forward", f"one_part: one training\n{CLAIMS}", probe)
    found = lint_recipes(port.root, port.name)
    assert ["excuses nothing" in finding.text for finding in found] == [True] * (not hidden)


def test_an_invalid_recipe_is_not_looked_at(port: SmallPort) -> None:
    port.add_recipe("forward", CLAIMS.replace("{}}", "{}, levels: [two]}"), "def run(p): pass\n")

    (finding,) = lint_recipes(port.root, port.name)

    assert (finding.rule, finding.severity) == ("coverage", "note")
    assert "forward.yaml:4: claims[0].levels: expected a level of small" in finding.text


def test_the_probe_that_is_written_for_a_command_hides_no_part() -> None:
    template = ROOT / "porter" / "project" / "run_script.py.txt"

    assert hidden_parts(template, [template]) is None


@pytest.mark.parametrize("name", ports_with_recipes(ROOT))
def test_the_recipes_of_this_project_are_without_a_finding(name: str) -> None:
    assert lint_recipes(ROOT, name) == []


def test_the_series_is_read_once(port: SmallPort, monkeypatch: pytest.MonkeyPatch) -> None:
    port.add_recipe("forward", CLAIMS)
    read: list[str] = []
    read_patch = series.read_patch

    def counted(path: Path, *, off: bool = False) -> series.Patch:
        read.append(path.name)
        return read_patch(path, off=off)

    monkeypatch.setattr(series, "read_patch", counted)

    assert lint_recipes(port.root, port.name) == []
    assert read == ["0001-one.patch"]
