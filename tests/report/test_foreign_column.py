"""A foreign tree has a column of its own in the report, beside the port's levels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from porter.cli import main
from tests.plain_upstream import git
from tests.report.test_page import Page, cells

if TYPE_CHECKING:
    from tests.report.stored_project import StoredProject


@pytest.fixture
def tree(stored: StoredProject, tmp_path: Path) -> Path:
    """A tree in no repository that differs from upstream in one line."""
    port, folder = stored.port, tmp_path / "fork"
    git(port.upstream, "checkout", "-qf", port.pin.commit or "")
    shutil.copytree(port.upstream, folder, ignore=shutil.ignore_patterns(".git"))
    (folder / "a.py").write_text((folder / "a.py").read_text() + "more\n")
    return folder


def test_the_tree_has_a_column_with_its_cells_images_and_counters(
    stored: StoredProject, tree: Path, tmp_path: Path
) -> None:
    from tests.report.stored_project import picture

    stored.runs[3, "cpu"] = {"outputs": {"image": picture("float32", 0.1)}}
    stored.store()
    stored.store_tree(tree)

    assert main(["report", "small", "--tree", str(tree), "-o", str(tmp_path / "r.html")]) == 0

    page = Page((tmp_path / "r.html").read_text())
    said = cells(page)
    assert said["3 cpu"] == "does not hold, 1 of 1 claim"
    assert said["3 sim:hpu"].startswith("holds, 2 claims")
    assert said["2 cpu"].startswith("holds")
    heads = [at.get("class") for at in page.all("th") if at.get("scope") == "col"]
    assert heads.count("bad foreign") == 1
    assert "3 tree:fork" in page.text
    assert f"{tree}, no level of the port; held to what every port must keep" in page.text
    assert f"porter compare small upstream {tree} --recipe one --device cpu" in page.text
    assert "Level 3 on cpu" in {image["alt"] for image in page.all("img")}
    assert "2 patches and tree:fork" in page.text


def test_json_names_the_tree_and_without_the_option_nothing_is_said_of_it(
    stored: StoredProject, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store()
    stored.store_tree(tree)
    found = {}
    for name, options in (("with", ["--tree", str(tree)]), ("without", [])):
        capsys.readouterr()
        assert main(["report", "small", *options, "--format", "json"]) == 0
        (found[name],) = json.loads(capsys.readouterr().out)["ports"]

    assert [level["name"] for level in found["with"]["levels"]] == [
        "upstream", "one", "two", "tree:fork",
    ]  # fmt: skip
    assert len(found["with"]["recipes"][0]["cells"]) == 8
    assert len(found["without"]["recipes"][0]["cells"]) == 6


def test_runs_that_left_no_trace_come_from_the_verdicts_of_the_same_tree(
    stored: StoredProject, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from porter.report.ci.verify import plain_results
    from porter.verify.judge.result import RecipeResult, Verdict

    stored.skipped.add((3, "sim:hpu"))
    stored.store()
    stored.store_tree(tree)
    died = Verdict(
        3, "tree:fork", "float32", 0, "", "", "error", detail="exit code 1", device="sim:hpu"
    )
    result = RecipeResult("small", "one", "t", (died,), 1, 1.0)
    file, options = tmp_path / "v.json", ["--tree", str(tree), "--format", "json"]
    capsys.readouterr()
    assert main(["report", "small", *options]) == 0
    (port,) = json.loads(capsys.readouterr().out)["ports"]
    words = {(c["level"], c["device"]): c["verdict"] for c in port["recipes"][0]["cells"]}
    assert words[3, "sim:hpu"] == "missing"

    def verdicts_of(tree_id: str) -> list[str]:
        more = {"tree": {"tree": tree_id}}
        file.write_text(json.dumps({**plain_results([result], [], False), **more}))
        return ["report", "small", *options, "--verdicts", str(file)]

    (row,) = (level for level in port["levels"] if level["name"] == "tree:fork")
    assert main(verdicts_of(row["tree"])) == 0
    (port,) = json.loads(capsys.readouterr().out)["ports"]
    words = {(c["level"], c["device"]): c["verdict"] for c in port["recipes"][0]["cells"]}
    assert words[3, "sim:hpu"] == "error"
    assert main(verdicts_of("0" * 40)) == 2
    assert "expected verdicts on git tree" in capsys.readouterr().err
    assert main(["report", "small", "--verdicts", str(file)]) == 2
    assert "expected verdicts on the levels of small, found git tree 0000" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tree", "."], "--tree .: expected one PORT beside it, found none"),
        (["small", "--as", "one"], "--as one: expected --tree TREE beside it, found none"),
        (["small", "--tree", "no-such"], "--tree no-such: expected a folder, or a revision"),
    ],
)
def test_bad_usage_is_one_line(
    stored: StoredProject,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(stored.port.upstream)

    assert main(["report", *arguments]) == 2

    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
