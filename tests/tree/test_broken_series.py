"""While a patch fails, level 0 and every level below it work, and the others say which and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from porter.errors import CheckFailed
from porter.upstream.pins import load_pins
from porter.verify.plan.port_trees import open_trees
from tests.small_project import (
    B_LINES,
    Upstreams,
    message,
    move_pin,
    replaced,
    sealed_git,
    write_files,
)
from tests.tree.conftest import Porter, head

FAILURE = "0002-add-new.patch does not apply: pkg/b.py @@ -3,7 +3,7 @@"


@pytest.fixture
def broken(project: Path, upstreams: Upstreams) -> Path:
    """The project with toy's pin moved to a commit that patch 2 does not apply to."""
    move_pin(project, upstreams, {"pkg/b.py": replaced(B_LINES, 5, "b5 = 'upstream'\n")})
    return project


@pytest.mark.parametrize("level", ["0", "upstream", "1", "wid"])
def test_a_level_below_the_break_is_applied(
    broken: Path, porter: Porter, tmp_path: Path, level: str
) -> None:
    ran = porter("apply", "toy", tmp_path / "w" / "toy", "--level", level)
    number = "0" if level in ("0", "upstream") else "1"
    assert (ran.code, f"level {number} of 3: " in ran.out) == (0, True), ran.err
    text = (tmp_path / "w" / "toy" / "pkg" / "a.py").read_text()
    assert ("'three'" in text) == (number == "1")
    assert sealed_git(tmp_path / "w" / "toy", "status", "--porcelain") == ""
    assert "fatal" not in sealed_git(tmp_path / "w" / "toy", "fsck", "--connectivity-only")


@pytest.mark.parametrize("level", ["2", "add-new", "3", "drop"])
def test_a_level_at_or_above_the_break_is_refused_with_the_patchs_failure(
    broken: Path, porter: Porter, tmp_path: Path, level: str
) -> None:
    ran = porter("apply", "toy", tmp_path / "w" / "toy", "--level", level)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert FAILURE in ran.err
    assert "`porter check toy` shows every failing hunk" in ran.err
    assert "the last level that applies is 1 (widen-a)" in ran.err
    assert not (tmp_path / "w").exists()


def test_apply_without_a_level_names_the_last_one_that_applies(
    broken: Path, porter: Porter, tmp_path: Path
) -> None:
    ran = porter("apply", "toy", tmp_path / "w" / "toy")
    assert (ran.code, FAILURE in ran.err) == (1, True)
    assert "`--level 1` (widen-a)" in ran.err
    assert not (tmp_path / "w").exists()


def test_a_tree_moves_up_to_the_break_and_no_further(
    toy: Path, broken: Path, porter: Porter
) -> None:
    ran = porter("goto", "0", toy)
    assert (ran.code, ran.out) == (0, "level 0 of 3: upstream\n")
    assert "levels rebuilt up to 1 (widen-a), the next does not apply" in ran.err
    assert head(toy) == "The next pin"
    assert porter("next", toy).out == "level 1 of 3: widen-a (1 file)\n"
    for command in (("next", toy), ("goto", "2", toy), ("goto", "drop-old", toy)):
        ran = porter(*command)
        assert (ran.code, FAILURE in ran.err, head(toy)) == (1, True, "Widen a"), command
    assert porter("prev", toy).code == 0
    assert sealed_git(toy, "status", "--porcelain") == ""


def test_prev_of_a_level_that_is_gone_leads_below_the_break(
    toy: Path, broken: Path, porter: Porter
) -> None:
    ran = porter("prev", toy)
    assert (ran.code, ran.out) == (0, "level 1 of 3: widen-a\n")


def test_prefix_that_a_level_above_the_break_shares_is_refused(
    broken: Path, porter: Porter, tmp_path: Path
) -> None:
    folder = tmp_path / "w" / "toy"
    series = broken / "patches" / "toy"
    for name in ("0003-drop-old.patch", "series"):
        text = (series / name).read_text().replace("drop-old", "widen-old")
        (series / name).write_text(text)
    (series / "0003-drop-old.patch").rename(series / "0003-widen-old.patch")
    assert porter("apply", "toy", folder, "--level", "0").code == 0
    ran = porter("goto", "widen", folder)
    assert (ran.code, "matches widen-a, widen-old" in ran.err) == (2, True)


def test_status_and_log_say_what_does_not_apply(toy: Path, broken: Path, porter: Porter) -> None:
    porter("goto", "1", toy)
    ran = porter("status", toy)
    assert "level 1 of 3: widen-a" in ran.out
    assert "from level 2 on: 0002-add-new.patch does not apply:" in ran.out
    value = json.loads(porter("status", toy, "--json").out)
    assert value["broken"]["levels"] == ["add-new", "drop-old"]
    for what in (toy, "toy"):
        ran = porter("log", what)
        rows = ran.out.splitlines()[3:7]
        marks = [row[0] for row in rows]
        assert marks == ["*" if what == toy and n == 1 else c for n, c in enumerate("  !!")]
        assert "! 0002-add-new.patch does not apply:" in ran.out
    value = json.loads(porter("log", "toy", "--json").out)
    assert [level["applies"] for level in value["levels"]] == [True, True, False, False]
    assert [level["commit"] is None for level in value["levels"]] == [False, False, True, True]


def test_log_of_a_tree_sees_the_break_before_the_tree_is_moved(
    toy: Path, broken: Path, porter: Porter
) -> None:
    porter("fetch", "toy")
    assert "! 0002-add-new.patch does not apply:" in porter("log", toy).out


def test_levels_below_the_break_are_shown_and_compared(
    toy: Path, broken: Path, porter: Porter
) -> None:
    porter("goto", "0", toy)
    assert "+a3 = 'three'" in porter("show", "1", "--port", "toy").out
    assert "applies" not in porter("show", "1", "-C", toy).out
    assert "no: 0002-add-new.patch does not apply" in porter("show", "2", "-C", toy).out
    for where in (("-C", toy), ("--port", "toy")):
        assert "+a3 = 'three'" in porter("diff", "0", "1", *where).out
        ran = porter("diff", "0", "2", *where)
        assert (ran.code, FAILURE in ran.err) == (1, True)


def test_mended_level_is_exported_and_what_fails_stays(
    toy: Path, broken: Path, porter: Porter
) -> None:
    folder = broken / "patches" / "toy"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    porter("goto", "1", toy)
    assert porter("export", "toy", toy, "--check").code == 0
    write_files(toy, {"pkg/new.py": "new = 1\n"})
    write_files(toy, {"pkg/b.py": (toy / "pkg/b.py").read_text().replace("'upstream'", "'five'")})
    sealed_git(toy, "add", ".")
    sealed_git(toy, "commit", "--quiet", "-m", message("add-new", "Add a new file"))
    ran = porter("export", "toy", toy)
    assert ran.code == 0, ran.err
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert [name for name in after if after[name] != before[name]] == ["0002-add-new.patch"]
    assert porter("goto", "3", toy).code == 0
    assert sealed_git(toy, "status", "--porcelain") == ""


def test_commits_on_another_upstream_are_no_levels(
    toy: Path, project: Path, upstreams: Upstreams, porter: Porter
) -> None:
    commit = move_pin(project, upstreams, {"README.md": "a newer toy\n"})
    sealed_git(toy, "fetch", "--quiet", "upstream", commit)
    sealed_git(toy, "rebase", "--quiet", "--onto", commit, "HEAD~3")
    ran = porter("export", "toy", toy)
    assert (ran.code, "drop-old" in ran.out) == (0, True), ran.err
    assert (load_pins(project).root / "patches/toy/series").read_text().count("\n") == 3
    assert "toy, level 3 of 3: drop-old" in porter("status", toy).out


def test_a_tree_recorded_without_broken_levels_opens(toy: Path, porter: Porter) -> None:
    path = toy / ".git" / "porter" / "tree.json"
    record = json.loads(path.read_text())
    del record["broken"]
    path.write_text(json.dumps(record))
    assert porter("prev", toy).out == "level 2 of 3: add-new (2 files)\n"
    assert porter("status", toy).code == 0


def test_failing_level_that_is_off_does_not_stop_apply(
    broken: Path, porter: Porter, tmp_path: Path
) -> None:
    series = broken / "patches" / "toy" / "series"
    series.write_text("0001-widen-a.patch\n# off: 0002-add-new.patch\n# off: 0003-drop-old.patch\n")
    folder = tmp_path / "w" / "toy"
    ran = porter("apply", "toy", folder)
    assert (ran.code, "level 1 of 3: widen-a" in ran.out) == (0, True), ran.err
    assert "already at the last level, 1 (widen-a)" in porter("next", folder).err
    ran = porter("goto", "add-new", folder)
    assert (ran.code, FAILURE in ran.err) == (1, True)


def test_recipes_wait_for_every_level_and_say_so(broken: Path) -> None:
    with open_trees(broken) as trees, pytest.raises(CheckFailed) as caught:
        trees.levels("toy")
    assert str(caught.value).startswith(FAILURE)
    assert str(caught.value).endswith("recipes run once every level applies")
