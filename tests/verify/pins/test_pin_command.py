"""``porter verify PORT --pin OLD,NEW`` on a project in a git repository whose pin has moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from porter.cli import main
from porter.verify.cache.store import Places
from tests.plain_upstream import git
from tests.small_port import SmallPort

OLD = "def f(x):\n    return x * 2\n\n\ndef g(x):\n    return x + 1\n"
NEW = OLD.replace("x * 2", "x * 3")
PROBE = """
    from code_of import f, g
    def run(probe):
        x = probe.normal("x", 200)
        probe.record("f", f(x))
        probe.record("g", g(x))
    """
PARITY = 'claims: [{outputs: "*", parity: {}}]\n'


@pytest.fixture
def port(
    port: SmallPort, environments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SmallPort:
    """A port whose project is a git repository."""
    places = Places(environments, tmp_path / "traces", tmp_path / "runs")
    monkeypatch.setattr(Places, "under", staticmethod(lambda _: places))
    git(port.root, "init", "-q")
    port.move_pin({"code_of.py": OLD})
    return port


def rebased(port: SmallPort, old: dict[str, str], new: dict[str, str], upstream: str = NEW) -> None:
    """Commit the project with levels ``old`` on OLD; then move the pin, with levels ``new``.

    Both are level name -> the whole of ``code_of.py``.
    """
    put_levels(port, old)
    port.add_recipe("one", PARITY, PROBE)
    commit(port)
    for patch in port.folder.glob("*.patch"):
        patch.unlink()
    (port.folder / "series").write_text("")
    port.move_pin({"code_of.py": upstream})
    put_levels(port, new)


def put_levels(port: SmallPort, levels: dict[str, str]) -> None:
    for name, text in levels.items():
        port.add_patch(name, {"code_of.py": text})


def commit(port: SmallPort) -> None:
    git(port.root, "add", "-A")
    git(port.root, "commit", "-qm", "the port")


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run the command with ``--json``; return its exit code, and the word of each output."""
    code = main(["verify", "small", *arguments, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    words = {
        (change["level_name"], change["output"]): change["result"]
        for recipe in found["recipes"]
        for change in recipe["changes"]
    }
    return {"code": code, "words": words, **found}


def reordered(text: str) -> str:
    """Return a port's version: the same results up to rounding."""
    return text.replace("x + 1", "(x + 3) - 2")


def test_levels_that_follow_upstream_pass(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    rebased(port, {"sum": reordered(OLD)}, {"sum": reordered(NEW)})

    found = compared(capsys, "--pin", "HEAD,now")

    assert found["code"] == 0
    assert found["words"] == {
        ("upstream", "f"): "moved",
        ("upstream", "g"): "same",
        ("sum", "f"): "moved",
        ("sum", "g"): "same",
    }
    assert found["old"]["upstream"] != found["new"]["upstream"]
    moved = found["recipes"][0]["changes"][0]
    assert moved["difference"] == pytest.approx(moved["upstream"], rel=1e-5)
    assert moved["apart"] <= moved["allowed"]


def test_a_level_that_keeps_the_old_results_fails(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    hiding = reordered(OLD).replace("return x * 2", "return x * 2  # as it was")
    rebased(port, {"sum": reordered(OLD)}, {"sum": hiding})

    assert main(["verify", "small", "--pin", "HEAD,now"]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("small: HEAD (upstream ")
    assert lines[1] == "  2 levels in both"
    assert all(len(line) <= 80 for line in lines[1:9])
    (row,) = (line for line in lines if line.startswith("1 sum  2 outputs"))
    assert row.split()[-1] == "differs"
    (row,) = (line for line in lines if line.startswith("0 upstream  2 outputs"))
    assert row.split()[-1] == "moved"
    (fault,) = (line for line in lines if line.startswith("  differs: level 1 sum, float32, f: "))
    assert "upstream's" in fault
    assert lines[-1] == "1 recipe compared; differs: one sum; moved at 1 level"


def test_a_level_that_changes_by_itself_fails(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    rebased(port, {"sum": reordered(OLD)}, {"sum": reordered(NEW).replace("- 2", "- 1")})

    found = compared(capsys, "--pin", "HEAD,now")

    assert (found["code"], found["passed"]) == (1, False)
    assert found["words"]["sum", "g"] == "differs"
    assert found["words"]["sum", "f"] == "moved"


def test_an_upstream_that_computes_the_same_takes_a_line_per_level(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    same = f"# another comment\n{OLD}"
    rebased(port, {"sum": reordered(OLD)}, {"sum": same.replace("x + 1", "(x + 2) - 1")}, same)

    assert main(["verify", "small", "--pin", "HEAD,now"]) == 0

    rows = [line for line in capsys.readouterr().out.splitlines() if "2 outputs" in line]
    assert [(row[0], row.split()[-1]) for row in rows] == [("0", "same"), ("1", "within")]


def test_levels_of_one_side_are_listed_and_compared_by_name(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    old = {"gone": OLD.replace("+ 1", "+ 1 + 0"), "sum": reordered(OLD)}
    rebased(port, old, {"sum": reordered(NEW), "fresh": NEW})

    found = compared(capsys, "--pin", "HEAD,now")

    levels = {"both": ["upstream", "sum"], "only_old": ["gone"], "only_new": ["fresh"]}
    assert found["levels"] == levels
    assert {level for level, _ in found["words"]} == {"upstream", "sum"}
    assert main(["verify", "small", "--pin", "HEAD,now"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[2:4] == ["  only at HEAD: gone", "  only at now: fresh"]


def test_the_runs_are_those_of_verify(port: SmallPort, capsys: pytest.CaptureFixture[str]) -> None:
    rebased(port, {"sum": reordered(OLD)}, {"sum": reordered(NEW)})
    assert main(["verify", "small"]) == 0
    capsys.readouterr()

    found = compared(capsys, "--pin", "HEAD,now")

    (recipe,) = found["recipes"]
    assert (recipe["runs"], recipe["cached"]) == (8, 4)
    assert compared(capsys, "--pin", "now,HEAD")["recipes"][0]["cached"] == 8


def test_a_folder_is_a_state_too_and_its_recipes_count(
    port: SmallPort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rebased(port, {"sum": reordered(OLD)}, {"sum": reordered(NEW)})
    shutil.copytree(port.root, tmp_path / "copy")
    (tmp_path / "copy" / "recipes" / "small" / "one.yaml").rename(
        tmp_path / "copy" / "recipes" / "small" / "two.yaml"
    )

    found = compared(capsys, "--pin", f"HEAD,{tmp_path / 'copy'}")

    assert found["code"] == 0
    assert [recipe["recipe"] for recipe in found["recipes"]] == ["two"]


def test_a_project_may_be_a_folder_of_its_repository(
    port: SmallPort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rebased(port, {"sum": reordered(OLD)}, {"sum": reordered(NEW)})
    shutil.rmtree(port.root / ".git")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "project")
    git(tmp_path, "commit", "-qm", "below")

    found = compared(capsys, "--pin", "HEAD,now")

    assert found["code"] == 0
    assert set(found["words"].values()) == {"same"}


def test_a_project_may_be_a_linked_work_tree(
    port: SmallPort,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rebased(port, {"sum": reordered(OLD)}, {"sum": reordered(NEW)})
    commit(port)
    git(port.root, "worktree", "add", "-q", str(tmp_path / "linked"))
    monkeypatch.setenv("PORTER_ROOT", str(tmp_path / "linked"))

    found = compared(capsys, "--pin", "HEAD~1,now")

    assert (found["code"], found["words"]["sum", "f"]) == (0, "moved")


def test_a_run_that_fails_in_the_old_state_is_an_error(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    new = NEW.replace("def g", "def h")
    rebased(port, {"sum": reordered(OLD)}, {"sum": reordered(new)}, new)
    port.add_recipe("one", PARITY, PROBE.replace("f, g", "f, h as g"))

    assert main(["verify", "small", "--pin", "HEAD,now"]) == 1

    printed = capsys.readouterr().out
    assert "error: level 0 upstream, float64: HEAD: ImportError: cannot import name 'h'" in printed
    assert printed.count("Traceback") <= 3


def test_options_choose_recipes_and_levels(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    levels = {"sum": reordered(OLD), "last": reordered(OLD) + "# end\n"}
    rebased(port, levels, {name: text.replace("* 2", "* 3") for name, text in levels.items()})
    port.add_recipe("other", f"{PARITY}tags: [quick]\n", PROBE)

    found = compared(capsys, "--pin", "HEAD,now", "--tag", "quick", "--level", "last")

    assert [recipe["recipe"] for recipe in found["recipes"]] == ["other"]
    assert {level for level, _ in found["words"]} == {"upstream", "last"}


@pytest.mark.slow
def test_each_claim_is_held_to_what_it_names(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    new = NEW.replace("x + 1", "x + 2")
    last = new.replace("x * 3", "x * 2")
    rebased(
        port,
        {"sum": f"{OLD}# s\n", "last": f"{OLD}# l\n"},
        {"sum": f"{new}# s\n", "last": last},
        new,
    )
    claims = """
        devices: [cpu, hpu]
        claims:
          - {outputs: "f", parity: {}, levels: [0]}
          - {outputs: "f", equal: {}, against: {level: previous}, levels: {from: 1}}
          - {outputs: "n", equal: {}}
          - {outputs: "g", finite: {}}
        """
    probe = f"{PROBE}    probe.record('n', (f(x) * 100).int())\n"
    port.add_recipe("one", claims, probe)
    port.add_recipe("counted", 'claims: [{counters: "c", at_least: 1}]\n', probe)

    code = main(["verify", "small", "--pin", "HEAD,now", "--json"])

    counted, one = json.loads(capsys.readouterr().out)["recipes"]
    on = {device: [c for c in one["changes"] if c["device"] == device] for device in ("cpu", "hpu")}
    words = {(c["level_name"], c["output"]): c["result"] for c in on["cpu"]}
    assert {words.pop(("upstream", name)) for name in ("f", "g", "n")} == {"moved"}
    assert words == {
        ("sum", "f"): "moved",
        ("sum", "n"): "moved",
        ("sum", "g"): "unjudged",
        ("last", "f"): "differs",
        ("last", "n"): "differs",
        ("last", "g"): "unjudged",
    }
    assert {c["result"] for c in on["hpu"]} == {"skipped"}
    assert (code, counted["changes"], counted["passed"]) == (1, [], True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["small", "--pin", "HEAD"], "--pin HEAD: expected OLD,NEW"),
        (["small", "--pin", "now,now"], "expected two states, found 'now' twice"),
        (["--pin", "HEAD,now"], "--pin HEAD,now: expected one PORT beside it, found none"),
        (["small", "--pin", "none,now"], "--pin none: expected `now`, a revision of the git"),
        (["small", "--pin", "--all,now"], "--pin --all: expected `now`, a revision of the git"),
        (["small", "--pin", "empty,now"], "--pin empty: expected upstream_pins.yaml in this"),
        (["small", "--pin", "broken,now"], "porter: broken:upstream_pins.yaml:1"),
        (["small", "--pin", "other,now"], "porter: other:upstream_pins.yaml: no pin 'small'"),
        (["small", "--pin", "now,HEAD", "--recipe", "x"], "--recipe x: matches nothing"),
        (["small", "--pin", "HEAD,now", "--format", "junit"], "--pin prints text or --json"),
    ],
)
def test_wrong_requests_are_told_in_one_line(
    port: SmallPort, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    pins = port.root / "upstream_pins.yaml"
    text = pins.read_text()
    port.add_recipe("one", PARITY, PROBE)
    for name, content in (
        ("empty", None),
        ("broken", "version: 7\n"),
        ("other", text.replace("small:", "large:")),
    ):
        pins.unlink() if content is None else pins.write_text(content)
        commit(port)
        git(port.root, "tag", name)
    pins.write_text(text)
    commit(port)

    # A value that looks like an option is given with "=".
    asked = [a for a in " ".join(arguments).replace("--pin --", "--pin=--").split(" ") if a]
    assert main(["verify", *asked]) == 2

    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert message in errors[0]


def test_without_a_repository_a_revision_is_refused(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(port.root / ".git")

    assert main(["verify", "small", "--pin", "HEAD,now"]) == 2

    error = capsys.readouterr().err
    assert "--pin HEAD: expected a folder with upstream_pins.yaml, or a revision" in error
    assert "not a git repository" in error
