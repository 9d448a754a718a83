"""A failed verdict in CI: at the line of its claim, with the command that narrows it down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from porter.report.terminal.verify import render
from porter.verify.judge.result import RecipeResult, Verdict
from porter.verify.plan.select import Filters, Plan, Unreachable, make_plan
from tests.verify.folder_trees import FolderTrees, write_recipe

RECIPE = """\
dtypes: [float32, float16]
claims:
  - outputs: other
    parity: {}
  - outputs: "y*"
    dtypes: [float16]
    parity: {}
  - outputs: "y*"
    dtypes: [float32]
    parity: {}
"""


def verdict(word: str, output: str = "y/0", **more: object) -> Verdict:
    given = {"error": 3.0, "allowed": 1.0, "measure": "max", "detail": "too far"} | more
    given["narrow"] = "porter compare port upstream next"
    return Verdict(1, "next", "float32", 0, output, "parity", word, **given)  # type: ignore[arg-type]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    trees = FolderTrees(tmp_path / "trees")
    trees.add("port", upstream="", next="")
    write_recipe(tmp_path, "port", "one", RECIPE, "")
    made = make_plan(tmp_path, ["port"], trees, Filters())
    return Plan(made.recipes, (Unreachable("far", "", "no source answers"),))


def results(*verdicts: Verdict) -> list[RecipeResult]:
    return [RecipeResult("port", "one", "one", verdicts, 1, 2.0)]


def test_an_annotation_is_at_the_claim_and_names_the_next_command(plan: Plan) -> None:
    text = render(plan, results(verdict("pass"), verdict("fail")), "github", False, False)

    (line,) = text.splitlines()
    assert line.startswith("::error file=recipes/port/one.yaml,line=11,title=porter parity::")
    assert "level 1 next, cpu, float32, seed 0, y/0: too far" in line
    assert line.endswith("%0Anarrow it down: porter compare port upstream next")


def test_junit_has_a_case_a_run_and_skips_what_is_not_reachable(plan: Plan) -> None:
    broken = verdict("error")
    other = Verdict(1, "next", "float16", 0, "y/0", "parity", "pass")

    root = ElementTree.fromstring(render(plan, results(broken, other), "junit", False, False))

    assert [root.get(key) for key in ("tests", "failures", "errors")] == ["3", "0", "1"]
    assert [case.get("name") for case in root[0]] == [
        "level 1 next, cpu, float32, seed 0",
        "level 1 next, cpu, float16, seed 0",
    ]
    assert root[1][0].find("skipped").get("message") == "no source answers"  # type: ignore[union-attr]


def test_what_is_not_reachable_is_a_finding_when_strict(plan: Plan) -> None:
    log = json.loads(render(plan, results(), "sarif", False, True))

    (result,) = log["runs"][0]["results"]
    assert result["ruleId"] == "run"
    assert "no source answers" in result["message"]["text"]


def test_a_simulated_result_is_marked_and_a_counter_is_its_own_rule(plan: Plan) -> None:
    claimed = {"device": "sim:hpu", "variant": (("steps", "4"),), "subject": "counters"}
    counted = verdict("fail", "compilations", detail="", **claimed)

    text = render(plan, results(counted), "github", False, False)

    assert "title=porter counters::" in text
    assert "level 1 next, sim:hpu (simulated), float32, steps=4, seed 0, compilations: " in text


def test_the_end_of_a_failed_runs_stderr_is_in_the_finding(plan: Plan) -> None:
    dead = Verdict(1, "next", "float32", 0, "", "", "error", detail="exit 1", stderr="a\nboom\n")

    text = render(plan, results(dead), "github", False, False)

    assert "line=5," in text
    assert "exit 1%0A  | a%0A  | boom" in text


def test_text_for_a_file_has_no_colour(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")

    text = render(plan, results(verdict("fail")), "text", False, False)

    assert "\x1b" not in text
    assert "1 failed" in text


def test_runs_without_a_sandbox_say_so_and_why(plan: Plan) -> None:
    made = [replace(results(verdict("pass"))[0], sandbox="none")]
    why = "the kernel refused: Operation not permitted"

    def rendered(form: str, **more: str) -> str:
        return render(plan, made, form, True, False, **more)

    text = rendered("github", why=why)
    assert text.startswith("::notice file=recipes/port/one.yaml,line=1,title=porter sandbox::")
    assert f"made in no sandbox: {why}; `--sandbox require` refuses such runs" in text
    assert "the runs are of an earlier verification" in rendered("github")

    (run,) = json.loads(rendered("sarif", why=why))["runs"]
    assert run["properties"] == {"sandbox": f"none: {why}"}
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == ("sandbox", "note")

    root = ElementTree.fromstring(rendered("junit", why=why))
    assert [root.get(key) for key in ("tests", "failures", "errors")] == ["2", "0", "0"]
    for suite in root:
        (held,) = suite.iter("property")
        assert held.attrib == {"name": "sandbox", "value": f"none: {why}"}


def test_the_sandbox_of_runs_is_in_the_forms_and_no_finding(plan: Plan) -> None:
    made = [replace(results(verdict("pass"))[0], sandbox="bubblewrap, namespaces")]

    assert render(plan, made, "github", True, False) == ""
    (run,) = json.loads(render(plan, made, "sarif", True, False))["runs"]
    assert (run["properties"], run["results"]) == ({"sandbox": "bubblewrap, namespaces"}, [])
    root = ElementTree.fromstring(render(plan, made, "junit", True, False))
    assert next(root[0].iter("property")).get("value") == "bubblewrap, namespaces"
