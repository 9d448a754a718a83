"""Findings as SARIF, JUnit XML and annotations: what the readers of each form insist on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from porter.cli import main
from porter.finding import Finding
from porter.report.ci.write import Case, as_form, folder_in_repository, write_text
from tests.small_port import SmallPort, changed

WRONG = Finding("patches/p/0001-a b.patch", 7, "apply", 'hunk "1" <fails>\n50% & \x1b[31m')
NOTE = Finding("patches/p/series", 0, "coverage", "not applied", "note")
CASES = [
    Case("p", "1 one", [WRONG, NOTE]),
    Case("p", "2 two"),
    Case("q", "all", [WRONG], broken=True),
    Case("far", "not reachable", skipped="no source"),
]


@pytest.fixture
def port(port: SmallPort) -> SmallPort:
    """A port whose pin moved to where its patch does not apply."""
    port.add_patch("first", changed("a.py", 5))
    port.move_pin(changed("a.py", 5, by="other"))
    return port


def test_sarif_names_rule_place_and_line_of_every_finding() -> None:
    log = json.loads(as_form("sarif", "porter check", CASES, "ports/"))

    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert (log["version"], run["automationDetails"]["id"]) == ("2.1.0", "porter/check/")
    first, note, _ = run["results"]
    where = first["locations"][0]["physicalLocation"]
    assert where["artifactLocation"]["uri"] == "ports/patches/p/0001-a%20b.patch"
    assert where["region"]["startLine"] == 7
    assert rules[first["ruleIndex"]] == first["ruleId"] == "apply"
    assert (note["level"], note["locations"][0]["physicalLocation"]["region"]["startLine"]) == (
        "note",
        1,
    )


def test_junit_counts_what_it_holds_and_has_one_failure_a_case() -> None:
    suites = ElementTree.fromstring(as_form("junit", "porter check", CASES, ""))

    assert dict(suites.attrib) | {"name": ""} == {
        "name": "", "tests": "4", "failures": "1", "errors": "1",
    }  # fmt: skip
    assert [suite.get("tests") for suite in suites] == ["2", "1", "1"]
    failed, passed = suites[0]
    (failure,) = failed.findall("failure")
    assert failure.get("message") == 'hunk "1" <fails>\n50% & \\x1b[31m'
    assert "patches/p/0001-a b.patch:7" in (failure.text or "")
    assert list(passed) == []
    assert suites[1][0].find("error") is not None
    assert suites[2][0].find("skipped") is not None


def test_an_annotation_is_one_line_whatever_the_text() -> None:
    lines = as_form("github", "porter check", CASES, "").splitlines()

    assert len(lines) == 3
    assert lines[0].startswith("::error file=patches/p/0001-a b.patch,line=7,title=porter apply::")
    assert lines[0].endswith("<fails>%0A50%25 & \x1b[31m")
    assert lines[-1].startswith("::notice file=patches/p/series,line=1,")


def test_paths_are_from_the_top_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "a" / "port").mkdir(parents=True)

    assert folder_in_repository(tmp_path) == ""
    assert folder_in_repository(tmp_path / "a" / "port") == "a/port/"


@pytest.mark.parametrize("command", ["check", "lint"])
def test_files_take_the_form_of_their_name_beside_what_is_printed(
    port: SmallPort, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    names = ("a.sarif", "new/a.xml", "a.json", "a.txt")
    files = [f"--output={tmp_path / name}" for name in names]

    assert main([command, "--format", "github", *files]) == 1

    assert "::error file=patches/small/0001-first.patch," in capsys.readouterr().out
    assert json.loads((tmp_path / "a.sarif").read_text())["runs"][0]["results"]
    assert ElementTree.parse(tmp_path / "new" / "a.xml").getroot().get("failures") != "0"
    assert json.loads((tmp_path / "a.json").read_text())["ok"] is False
    assert "small" in (tmp_path / "a.txt").read_text()
    assert "\x1b" not in (tmp_path / "a.txt").read_text()


def test_a_file_of_no_known_form_is_refused_before_anything_runs(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "--output", "result.html"])

    assert ended.value.code == 2
    assert "expected a name that ends in .json, .xml, .sarif, .txt" in capsys.readouterr().err


def test_a_byte_of_a_name_that_is_no_text_is_escaped(tmp_path: Path) -> None:
    """Python reads such a byte as a lone surrogate; events and paths can hold one."""
    page = tmp_path / "page.html"
    write_text(page, f"pkg/{os.fsdecode(bytes([0xFF]))}.py")
    assert page.read_bytes() == b"pkg/\\udcff.py\n"
