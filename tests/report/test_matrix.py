"""``porter matrix``: what a CI system starts jobs from."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from porter.cli import main
from porter.verify.plan import ci_matrix as matrix
from tests.small_port import SmallPort, changed

CLAIM = 'claims: [{outputs: "*", parity: {}}]\n'


@pytest.fixture
def port(port: SmallPort) -> SmallPort:
    """Levels upstream, one and two; a quick recipe of all, another of only the last."""
    port.add_patch("one", changed("a.py", 5))
    port.add_patch("two", changed("a.py", 6))
    port.add_recipe("all", f"tags: [quick]\n{CLAIM}")
    port.add_recipe("late", f"levels: [two]\n{CLAIM}")
    return port


def entries(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)["include"]
    return found


def test_every_level_that_a_recipe_judges_has_a_job(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["matrix"]) == 0

    found = entries(capsys)
    assert [(e["level"], e["level_name"], e["recipes"]) for e in found] == [
        (0, "upstream", "all"),
        (1, "one", "all"),
        (2, "two", "all late"),
    ]
    assert found[0] | {"name": ""} == {
        "name": "", "port": "small", "level": 0, "level_name": "upstream", "device": "cpu",
        "simulated": False, "recipes": "all", "runs_on": ["ubuntu-latest"],
    }  # fmt: skip


def test_a_tag_leaves_the_other_recipes_out(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["matrix", "small", "--tag", "quick"]) == 0

    assert [e["recipes"] for e in entries(capsys)] == ["all", "all", "all"]


def test_labels_of_a_runner_are_the_users(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["matrix", "--runs-on", "cpu=self-hosted,big"]) == 0

    assert entries(capsys)[0]["runs_on"] == ["self-hosted", "big"]


def test_the_line_for_github_is_one_line(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["matrix", "--github"]) == 0

    (line,) = capsys.readouterr().out.splitlines()
    assert len(json.loads(line.removeprefix("matrix="))["include"]) == 3


def test_a_matrix_that_github_would_refuse_is_refused_with_the_way_out(
    port: SmallPort, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "MOST_JOBS", 2)

    assert main(["matrix", "--github"]) == 2

    assert "3 jobs, but GitHub allows at most 2 in a matrix" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tag", "slow"], "--tag slow: matches nothing"),
        (["--device", "hpu"], "--device hpu: matches nothing; there are cpu"),
        (["other"], "other: no recipes for it"),
    ],
)
def test_what_matches_nothing_is_an_error_and_no_empty_matrix(
    port: SmallPort, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["matrix", *arguments]) == 2

    assert message in capsys.readouterr().err


def test_neither_torch_nor_the_upstream_is_needed(port: SmallPort) -> None:
    port.upstream.rename(port.upstream.with_name("away"))
    code = "import sys, porter.cli as c; print(c.main(['matrix']), 'torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "0 False"
