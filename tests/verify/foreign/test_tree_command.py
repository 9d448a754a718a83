"""``porter verify PORT --tree TREE`` on folders and revisions that are no level of the port."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree

import pytest

from porter.cli import main
from porter.places import cache_dir
from tests.plain_upstream import git
from tests.small_port import SmallPort
from tests.verify.foreign.conftest import CODE, PROBE, REORDERED, Judge

F = ("tree:fork", "f", "parity")
NOWHERE = 'claims: [{outputs: "*", parity: {}, levels: [one]}]\n'
EVERYWHERE = 'claims: [{outputs: "*", parity: {}}]\n'


def test_a_right_tree_in_no_repository_passes(folder: Path, judge: Judge) -> None:
    (folder / "code_of.py").write_text(CODE.replace("x * 2", "x + x"))

    done = judge(folder)

    assert (done.code, done.words) == (0, {F: "pass"})
    told = done.found["tree"]
    assert (told["name"], told["source"], told["as"]) == ("tree:fork", str(folder), None)


def test_a_broken_tree_fails_with_the_claim_and_a_command_that_goes_on(
    small: SmallPort, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "code_of.py").write_text(CODE.replace("x * 2", "x * 3"))

    assert main(["verify", "small", "--tree", str(folder)]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("small: tree:fork (git tree ")
    assert lines[1] == "  held to the contract: the claims that every port must keep"
    (fault,) = (line for line in lines if line.startswith("  fail: "))
    assert fault.startswith("  fail: level 3 tree:fork, float32, f, parity: greatest difference")
    (narrow,) = (line for line in lines if "narrow it down" in line)
    assert f"porter compare small upstream {folder} --recipe forward" in narrow
    assert lines[-1].startswith("0 recipes passed; 1 failed: small/forward; sandbox: ")


def test_a_tree_that_does_not_run_fails_whichever_claims_are_left_out(
    folder: Path, judge: Judge
) -> None:
    (folder / "code_of.py").write_text("import no_such_module\n")

    done = judge(folder)

    assert (done.code, done.words) == (1, {("tree:fork", None, None): "error"})


def test_the_trees_own_files_are_there_whatever_the_recipe_needs(
    small: SmallPort, folder: Path, judge: Judge
) -> None:
    small.add_recipe("forward", f"needs: [code_of.py]\n{EVERYWHERE}", PROBE)
    (folder / "their_own.py").write_text("def double(x):\n    return x + x\n")
    (folder / "code_of.py").write_text(
        f"from their_own import double\n{CODE.replace('x * 2', 'double(x)')}"
    )

    done = judge(folder)

    assert (done.code, set(done.words.values())) == (0, {"pass"})


def test_an_unchanged_second_run_comes_from_the_cache(folder: Path, judge: Judge) -> None:
    (folder / "code_of.py").write_text(REORDERED)
    first, second = judge(folder), judge(folder)
    (folder / "code_of.py").write_text(CODE + "\n")

    third = judge(folder)

    ((runs, cached),) = first.runs
    assert cached < runs
    assert second.runs == [(runs, runs)]
    assert second.words == first.words
    assert third.runs == [(runs, runs - 1)]  # level 0's are as before


def test_runs_of_level_0_are_those_of_verify(
    small: SmallPort, folder: Path, judge: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "small"]) == 0
    record = capsys.readouterr().out
    (folder / "code_of.py").write_text(REORDERED + "# of no level\n")

    done = judge(folder)

    ((runs, cached),) = done.runs
    assert (done.code, cached) == (0, runs - 1)
    assert main(["judge", "small/forward"]) == 0  # the record is still that of the port's levels
    assert "2 two, float32" in record
    assert "2 two, float32" in capsys.readouterr().out


def test_as_applies_the_claims_on_a_level(folder: Path, judge: Judge) -> None:
    (folder / "code_of.py").write_text(CODE.replace("x + 1", "x + 2"))

    default, one, two = (judge(folder, *a) for a in ([], ["--as", "one"], ["--as", "2"]))

    assert (default.code, default.words) == (0, {F: "pass"})
    assert (one.code, two.code) == (1, 0)
    assert one.words == {F: "pass", ("tree:fork", "g", "parity"): "fail"}
    assert two.words == {F: "pass", ("tree:fork", "g", "allclose"): "pass"}
    assert (one.found["tree"]["as"], two.found["tree"]["as"]) == ("one", "two")


@pytest.mark.parametrize(("judged_as", "code"), [("one", 1), ("two", 0)])
def test_as_a_level_previous_is_the_level_before_it(
    small: SmallPort, folder: Path, judge: Judge, judged_as: str, code: int
) -> None:
    """Level ``one`` changes a result; a tree that does so too is right as ``two`` alone."""
    small.move_pin({"code_of.py": CODE.replace("x + 1", "x + 7")})
    for patch in small.folder.glob("*.patch"):
        patch.unlink()
    (small.folder / "series").write_text("")
    small.add_patch("one", {"code_of.py": CODE})
    small.add_patch("two", {"code_of.py": REORDERED})
    claims = 'claims: [{outputs: "*", parity: {}, against: {level: previous}, contract: true}]\n'
    small.add_recipe("forward", claims, PROBE)
    (folder / "code_of.py").write_text(CODE)

    assert judge(folder, "--as", judged_as).code == code
    assert judge(folder).code == 1  # none of the port's: the level before is upstream


def test_a_tree_is_held_to_the_contract_at_whatever_levels_it_holds(
    small: SmallPort, folder: Path, judge: Judge
) -> None:
    claims = """
        claims:
          - {outputs: "*", parity: {}, levels: [two]}
          - {outputs: "*", finite: {}, levels: [one], contract: false}
          - {counters: n, at_most: 1, levels: [one], contract: false}
          - {counters: n, at_most: 3, levels: [two], contract: true}
          - {counters: n, equal: 2, levels: [one]}
        """
    probe = f'{PROBE.rstrip()}\n        probe.count("n", 2)\n    '
    small.add_recipe("forward", dedent(claims), probe)

    default, one = judge(folder), judge(folder, "--as", "one")

    assert (default.code, one.code) == (0, 1)
    name = "tree:fork"
    assert set(default.words) == {
        (name, "f", "parity"),
        (name, "g", "parity"),
        (name, "n", "at_most"),
    }
    assert one.words == {
        (name, "f", "finite"): "pass",
        (name, "g", "finite"): "pass",
        (name, "n", "at_most"): "fail",
        (name, "n", "equal"): "pass",
    }


def test_verdicts_say_which_claims_are_contract(
    small: SmallPort, folder: Path, judge: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "code_of.py").write_text(CODE.replace("x * 2", "x * 3").replace("x + 1", "x + 9"))

    done = judge(folder, "--as", "two")
    main(["verify", small.name, "--tree", str(folder), "--as", "two"])

    kinds = {v["output"]: v["contract"] for r in done.found["recipes"] for v in r["verdicts"]}
    assert kinds == {"f": True, "g": False}
    text = capsys.readouterr().out
    assert "f, parity: greatest" in text
    assert "g, allclose (ours): greatest" in text
    assert "\n  g (ours) " in text


def test_recipes_without_a_claim_that_every_port_must_keep_are_named(
    small: SmallPort, folder: Path, judge: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    small.add_recipe("special", NOWHERE, PROBE)

    assert judge(folder).found["tree"]["recipes_without_claim"] == ["special"]
    assert main(["verify", "small", "--tree", str(folder), "--recipe", "special"]) == 2

    assert capsys.readouterr().err == (
        "porter: small: no selected recipe has a claim that is contract; "
        "`--as LEVEL` applies a level's own claims\n"
    )


def test_a_port_without_a_series_is_enough(small: SmallPort, folder: Path, judge: Judge) -> None:
    small.add_recipe("forward", EVERYWHERE, PROBE)
    for file in small.folder.iterdir():
        file.unlink()

    assert judge(folder).code == 0
    (folder / "code_of.py").write_text(CODE.replace("x + 1", "x - 1"))
    assert judge(folder).words["tree:fork", "g", "parity"] == "fail"


def test_a_module_of_our_patches_that_the_tree_lacks_is_named(
    small: SmallPort, folder: Path, judge: Judge
) -> None:
    probe = PROBE.replace("x = probe", "import helper\n        x = probe")
    probe = probe.replace(
        "import helper",
        'import sys; "x + x" in open(g.__code__.co_filename).read() and __import__("helper")',
    )
    small.add_recipe("forward", EVERYWHERE, probe)
    (folder / "code_of.py").write_text(CODE.replace("x * 2", "x + x"))

    done = judge(folder)

    assert done.code == 1
    ((row, *more),) = (recipe["verdicts"] for recipe in done.found["recipes"])
    assert (row["verdict"], more) == ("error", [])
    assert "No module named 'helper': the tree has no helper.py, which level two" in row["detail"]


# -- what is a tree -------------------------------------------------------------------------------


def test_a_revision_of_a_folders_repository(
    small: SmallPort, folder: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(folder, "init", "-q")
    for name, text in (("right", REORDERED), ("wrong", CODE.replace("x * 2", "x * 3"))):
        (folder / "code_of.py").write_text(text)
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", name)
        git(folder, "tag", name)

    right, wrong, now = (judge(text) for text in (f"{folder}@right", f"{folder}@HEAD", folder))
    monkeypatch.chdir(folder)
    here = judge("right")

    assert [each.code for each in (right, wrong, now, here)] == [0, 1, 1, 0]
    assert right.words == {("tree:fork@right", "f", "parity"): "pass"}
    assert here.words == {("tree:right", "f", "parity"): "pass"}
    assert wrong.found["tree"]["tree"] == now.found["tree"]["tree"]
    assert wrong.found["tree"]["tree"] == git(folder, "rev-parse", "HEAD^{tree}")[1].decode()[:40]
    assert git(folder, "status", "--porcelain")[1] == b""


def test_build_leftovers_and_ignored_files_do_not_count(folder: Path, judge: Judge) -> None:
    first = judge(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "code_of.cpython-312.pyc").write_bytes(b"x")
    (folder / ".pytest_cache").mkdir()
    (folder / ".pytest_cache" / "x").write_text("x")
    (folder / ".DS_Store").write_text("x")
    again = judge(folder)
    git(folder, "init", "-q")
    (folder / ".git" / "info" / "exclude").write_text("outputs/\n")
    (folder / "outputs").mkdir()
    (folder / "outputs" / "log.py").write_text("x")
    in_git = judge(folder)

    assert {each.found["tree"]["tree"] for each in (first, again, in_git)} == {
        first.found["tree"]["tree"]
    }
    assert again.runs == [(first.runs[0][0], first.runs[0][0])]


def test_a_link_out_of_the_tree_is_left_out_and_named(folder: Path, judge: Judge) -> None:
    (folder / "data").symlink_to("/etc")
    (folder / "inside").symlink_to("code_of.py")

    done = judge(folder)

    assert (done.code, done.found["tree"]["links_out"]) == (0, ["data"])
    made = cache_dir() / "trees"
    (tree,) = made.glob(f"{done.found['tree']['tree']}-*")
    assert (tree / "inside").readlink() == Path("code_of.py")
    assert not (tree / "data").exists()


def test_the_tree_stays_as_it_is(folder: Path, judge: Judge) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    assert judge(folder).code == 0

    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_other_forms_name_the_tree(
    small: SmallPort, folder: Path, tmp_path: Path, judge: Judge
) -> None:
    (folder / "code_of.py").write_text(CODE.replace("x * 2", "x * 3"))
    outputs = [tmp_path / f"out{suffix}" for suffix in (".xml", ".sarif", ".txt")]

    judge(folder, *(f"--output={path}" for path in outputs))

    junit = ElementTree.parse(outputs[0]).getroot()
    (case,) = junit.iter("testcase")
    assert "tree:fork" in case.attrib["name"]
    (result,) = json.loads(outputs[1].read_text())["runs"][0]["results"]
    assert "tree:fork" in result["message"]["text"]
    assert "level 3 tree:fork" in outputs[2].read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tree", "no-such"], "--tree no-such: expected a folder, or a revision of here"),
        (["--tree", "{fork}@no-such"], "expected a revision of {fork}, found none of this name"),
        (["--tree", "{fork}/empty"], "expected a tree with files, found none"),
        (["--tree", "{fork}/.git"], "expected a work tree, found a repository's own folder"),
        (["--tree", "{fork}", "--level", "one"], "expected --as LEVEL or nothing beside it, found"),
        (["--tree", "{fork}", "--pin", "a,b"], "--pin a,b: expected neither --tree nor --as"),
        (
            ["--tree", "{fork}", "--as", "three"],
            "--as three: no level 'three'; the levels are upstream",
        ),
        (["--as", "one"], "--as one: expected --tree TREE beside it, found none"),
    ],
)
def test_bad_usage_is_one_line(
    small: SmallPort,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    git(folder, "init", "-q")
    git(folder, "commit", "-qm", "none", "--allow-empty")
    (folder / "empty").mkdir()
    monkeypatch.chdir(small.upstream)

    assert main(["verify", "small", *(a.format(fork=folder) for a in arguments)]) == 2

    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message.format(fork=folder) in err
