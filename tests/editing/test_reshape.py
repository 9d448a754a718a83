"""rename, move, drop, fold and split, in a tree and without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from porter.series.series import load_series
from tests.small_project import message, sealed_git, snapshot, write_files
from tests.tree.conftest import Porter, Ran, head
from tests.tree.test_export import patches

Change = Callable[..., Ran]


@pytest.fixture(params=["tree", "store"])
def change(request: pytest.FixtureRequest, toy: Path, porter: Porter, tmp_path: Path) -> Change:
    """Run a command on toy's series, in its tree or without one; then check what stands."""
    assert porter("lock", "toy").code == 0
    where = ("-C", toy) if request.param == "tree" else ("--port", "toy")

    def run(*words: str) -> Ran:
        ran = porter(*words, *where)
        assert porter("check", "toy").code == 0
        assert sealed_git(toy, "status", "--porcelain") == ""
        return ran

    return run


def levels(project: Path) -> list[str]:
    return [patch.level for patch in load_series(project, "toy").patches]


def last_tree(project: Path) -> str:
    lock = json.loads((project / "patches" / "toy" / "levels.lock").read_text())
    return str(lock["levels"][-1]["tree"])


def everything(folder: Path) -> dict[str, str]:
    return {name: text for name, text in snapshot(folder).items() if "/." not in name}


@pytest.mark.forms(3)
@pytest.mark.parametrize("text", ["drop-old", "3", "drop"])
def test_rename_changes_the_name_and_nothing_else(
    change: Change, porter: Porter, project: Path, text: str
) -> None:
    before = patches(project)
    ran = change("rename", text, "no-old")
    assert ran.code == 0, ran.err
    after = patches(project)
    assert after["series"] == b"0001-widen-a.patch\n0002-add-new.patch\n0003-no-old.patch\n"
    renamed = before["0003-drop-old.patch"].replace(b"Level: drop-old", b"Level: no-old")
    assert after["0003-no-old.patch"] == renamed
    assert after["0002-add-new.patch"] == before["0002-add-new.patch"]
    assert porter("undo", "toy").code == 0
    assert patches(project) == before


def test_rename_follows_in_recipes_mutants_and_logs(
    change: Change, porter: Porter, project: Path, recipes: Path
) -> None:
    log = f"# one\n# Level 3 drop-old of toy, tree {last_tree(project)},\n# on sim:hpu\n"
    write_files(project, {"migration_logs/toy/3-drop-old.sim-hpu.txt": log})
    before = everything(project)
    ran = change("rename", "drop-old", "no-old")
    assert ran.code == 0, ran.err
    assert (recipes / "sums.yaml").read_text() == before["recipes/toy/sums.yaml"].replace(
        "drop-old]", "no-old]"
    ).replace('"drop-old"', '"no-old"').replace("- drop ", "- no-old ")
    assert "level: no-old," in (recipes / "mutants" / "equivalent.yaml").read_text()
    followed = project / "migration_logs" / "toy" / "3-no-old.sim-hpu.txt"
    assert followed.read_text() == log.replace("drop-old", "no-old")
    assert not followed.with_name("3-drop-old.sim-hpu.txt").exists()
    assert "updated    recipes/toy/sums.yaml" in ran.out
    assert "porter: still names drop-old: docs/toy.md:1\n" in ran.err
    assert "porter: still names drop-old: recipes/toy/probe.py:1\n" in ran.err
    assert ran.err.count("still names") == 2
    assert porter("undo", "toy").code == 0
    assert everything(project) == before
    assert porter("redo", "toy").code == 0
    assert followed.exists()
    assert "no-old]" in (recipes / "sums.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("add-new", "there is a level add-new already (2)"),
        ("Drop Old", "expected a name of lower-case words"),
        ("12", "expected a name of lower-case words"),
        ("upstream", "expected a name of lower-case words"),
    ],
)
def test_rename_to_a_name_that_cannot_be_is_refused(
    change: Change, project: Path, name: str, why: str
) -> None:
    before = patches(project)
    ran = change("rename", "drop-old", name)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert why in ran.err
    assert patches(project) == before


def test_level_0_and_unknown_levels_are_refused(change: Change) -> None:
    assert "above 0, the upstream itself" in change("drop", "0").err
    assert "did you mean 'widen-a'?" in change("drop", "widen-b").err


@pytest.mark.forms(4)
@pytest.mark.parametrize(
    ("words", "order"),
    [
        (("add-new", "--first"), ["add-new", "widen-a", "drop-old"]),
        (("add-new", "--last"), ["widen-a", "drop-old", "add-new"]),
        (("1", "--after", "2"), ["add-new", "widen-a", "drop-old"]),
        (("drop", "--before", "add"), ["widen-a", "drop-old", "add-new"]),
        (("add-new", "--after", "widen-a"), ["widen-a", "add-new", "drop-old"]),
    ],
)
def test_move_changes_the_order_and_keeps_the_last_tree(
    change: Change, porter: Porter, project: Path, words: tuple[str, ...], order: list[str]
) -> None:
    tree = last_tree(project)
    ran = change("move", *words)
    assert ran.code == 0, ran.err
    assert levels(project) == order
    assert last_tree(project) == tree
    assert sorted(n for n in patches(project) if n[0] == "0") == [
        f"{number:04d}-{name}.patch" for number, name in enumerate(order, 1)
    ]


def test_move_renumbers_what_names_a_level_by_number(
    change: Change, project: Path, recipes: Path
) -> None:
    assert change("move", "add-new", "--first").code == 0
    text = (recipes / "sums.yaml").read_text()
    assert "levels: [widen-a, 1, drop-old]" in text
    assert "ratio: {level: 2, at_least: 2}" in text
    assert "- drop      # by prefix" in text


def test_move_that_empties_a_range_says_so(change: Change, project: Path, recipes: Path) -> None:
    (recipes / "sums.yaml").write_text("levels: {from: widen-a, to: add-new}\n")
    ran = change("move", "add-new", "--first")
    assert "recipes/toy/sums.yaml:1: no level is from widen-a to add-new any more" in ran.err


@pytest.mark.parametrize("words", [(), ("--first", "--last"), ("--before", "drop-old")])
def test_move_to_no_place_is_refused(change: Change, words: tuple[str, ...]) -> None:
    ran = change("move", "drop-old", *words)
    assert (ran.code, ran.err.count("\n")) == (2, 1)


def test_drop_lists_what_names_the_level(
    change: Change, porter: Porter, project: Path, recipes: Path
) -> None:
    ran = change("drop", "drop-old", "add-new")
    assert ran.code == 0, ran.err
    assert levels(project) == ["widen-a"]
    for at in ("sums.yaml:3", "sums.yaml:5", "sums.yaml:9", "mutants/equivalent.yaml:3"):
        assert f"porter: still names drop-old: recipes/toy/{at}\n" in ran.err
    assert "porter: still names add-new: recipes/mate/pair.yaml:1\n" in ran.err
    assert porter("undo", "toy").code == 0
    assert levels(project) == ["widen-a", "add-new", "drop-old"]


def test_every_level_can_be_dropped(change: Change, toy: Path, project: Path) -> None:
    assert change("drop", "1", "2", "3").code == 0
    assert levels(project) == []
    assert (project / "patches" / "toy" / "series").read_text() == ""


def test_fold_makes_one_level_with_the_header_of_both(
    change: Change, porter: Porter, project: Path, recipes: Path
) -> None:
    tree = last_tree(project)
    path = project / "patches" / "toy" / "0003-drop-old.patch"
    path.write_text(
        path.read_text().replace("Devices: hpu, npu", "Devices: cuda, npu")
        .replace("Keeps: everything", "Keeps: sums").replace("the tests need it", "it is old")
    )  # fmt: skip
    assert porter("lock", "toy").code == 0
    ran = change("fold", "drop-old")
    assert ran.code == 0, ran.err
    assert levels(project) == ["widen-a", "add-new"]
    assert last_tree(project) == tree
    header = load_series(project, "toy").patches[1].header
    assert header.subject == "Add a new file"
    assert header.devices == ("hpu", "npu", "cuda")
    assert header.keeps == "everything; sums"
    assert header.gains == "a level"
    assert "Because the tests need it.\n\nBecause it is old.\n\nLevel: add-new\n" in header.body
    text = (recipes / "sums.yaml").read_text()
    assert "levels: [widen-a, 2]  # three" in text
    assert 'to: "add-new"}' in text
    assert "      - add-new   # by name\n    against:" in text
    assert "level: add-new," in (recipes / "mutants" / "equivalent.yaml").read_text()


def test_fold_into_a_level_further_below(change: Change, porter: Porter, project: Path) -> None:
    tree = last_tree(project)
    assert change("fold", "drop-old", "--into", "widen-a").code == 0
    assert levels(project) == ["widen-a", "add-new"]
    assert last_tree(project) == tree
    lower = (project / "patches" / "toy" / "0001-widen-a.patch").read_text()
    assert "deleted file mode" in lower


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("widen-a",), "is the lowest level"),
        (("widen-a", "--into", "add-new"), "`porter fold add-new --into widen-a`"),
    ],
)
def test_fold_into_nothing_below_is_refused(
    change: Change, words: tuple[str, ...], why: str
) -> None:
    ran = change("fold", *words)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert why in ran.err


@pytest.mark.parametrize("above", [False, True])
def test_split_by_files_keeps_the_last_tree(
    change: Change, porter: Porter, project: Path, recipes: Path, above: bool
) -> None:
    tree = last_tree(project)
    (recipes / "mutants" / "equivalent.yaml").write_text(
        "version: 1\nequivalents:\n"
        "  - {level: add-new, file: pkg/b.py, before: a, after: b, reason: same}\n"
        "  - {level: add-new, file: pkg/new.py, before: a, after: b, reason: same}\n"
    )
    options = ["--above"] if above else []
    ran = change("split", "add-new", "five", "pkg/b*", "-m", "Make it five", *options)
    assert ran.code == 0, ran.err
    order = ["add-new", "five"] if above else ["five", "add-new"]
    assert levels(project) == ["widen-a", *order, "drop-old"]
    assert last_tree(project) == tree
    new = next(p for p in load_series(project, "toy").patches if p.level == "five")
    assert new.header.subject == "Make it five"
    assert new.header.keeps == "everything"
    assert [file.path for file in new.files] == [b"pkg/b.py"]
    listed = (recipes / "mutants" / "equivalent.yaml").read_text()
    assert "{level: five, file: pkg/b.py" in listed
    assert "{level: add-new, file: pkg/new.py" in listed


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (("README.md",), "changes nothing in README.md; it changes pkg/b.py, pkg/new.py"),
        (("pkg",), "`porter rename add-new five`"),
    ],
)
def test_split_of_nothing_or_all_is_refused(
    change: Change, paths: tuple[str, ...], why: str
) -> None:
    ran = change("split", "add-new", "five", *paths)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert why in ran.err


def test_paths_of_a_split_are_those_of_the_folder_here(
    toy: Path, porter: Porter, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy / "pkg")
    assert porter("split", "add-new", "five", "b.py").code == 0
    assert "five" in levels(project)


def test_comments_and_options_of_the_series_file_stay(change: Change, project: Path) -> None:
    series = project / "patches" / "toy" / "series"
    series.write_text(
        "# first\n0001-widen-a.patch -p1\n# new file\n0002-add-new.patch # why\n"
        "0003-drop-old.patch\n"
    )
    assert change("rename", "add-new", "add-it").code == 0
    assert change("move", "add-it", "--last").code == 0
    assert series.read_text() == (
        "# first\n0001-widen-a.patch -p1\n0002-drop-old.patch\n# new file\n"
        "0003-add-it.patch # why\n"
    )


def test_patch_in_another_form_keeps_its_bytes(
    change: Change, porter: Porter, project: Path
) -> None:
    path = project / "patches" / "toy" / "0001-widen-a.patch"
    folded = path.read_text().replace("Origin: these tests", "Origin: these\n tests")
    path.write_text(folded.replace("From: Ada", "MIME-Version: 1.0\nFrom: Ada"))
    other = path.read_bytes()
    assert porter("lock", "toy").code == 0
    assert change("drop", "drop-old").code == 0
    assert path.read_bytes() == other
    assert change("rename", "widen-a", "widen").code == 0
    renamed = other.replace(b"Level: widen-a", b"Level: widen")
    assert path.with_name("0001-widen.patch").read_bytes() == renamed


def test_levels_that_are_off_stay_last(change: Change, porter: Porter, project: Path) -> None:
    series = project / "patches" / "toy" / "series"
    series.write_text("0001-widen-a.patch\n0002-add-new.patch\n# off: 0003-drop-old.patch\n")
    assert porter("lock", "toy").code == 0
    before = patches(project)
    for words in (("move", "drop-old", "--first"), ("move", "add-new", "--after", "drop-old")):
        ran = change(*words)
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert "drop-old is off by default" in ran.err
    assert "would be on" in change("fold", "drop-old").err
    assert patches(project) == before
    assert change("move", "widen-a", "--last").code == 0
    assert change("rename", "drop-old", "no-old").code == 0
    assert change("split", "no-old", "gone", "pkg/old.py").code == 0
    assert series.read_text() == (
        "0001-add-new.patch\n0002-widen-a.patch\n# off: 0003-gone.patch\n# off: 0004-no-old.patch\n"
    )


def test_conflict_without_a_tree_is_one_line_and_changes_nothing(
    fight: Path, porter: Porter, project: Path
) -> None:
    before = patches(project)
    ran = porter("move", "second-fight", "--first", "--port", "toy", "--root", project)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "second-fight conflicts in fight.txt; nothing changed" in ran.err
    assert "`porter apply toy DIR`" in ran.err
    assert patches(project) == before


@pytest.mark.forms(1)
@pytest.mark.parametrize(
    "words",
    [
        ("move", "third-fight", "--before", "second-fight"),
        ("drop", "second-fight"),
        ("fold", "third-fight", "--into", "first-fight"),
    ],
)
def test_conflict_in_a_tree_is_gits_own(
    fight: Path, porter: Porter, project: Path, words: tuple[str, ...]
) -> None:
    before, at = patches(project), sealed_git(fight, "rev-parse", "HEAD")
    ran = porter(*words, "-C", fight)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "third-fight conflicts in fight.txt" in ran.err
    assert f"`porter {words[0]} --continue`" in ran.err
    value = json.loads(porter("status", fight, "--json").out)["change"]
    assert value == {"command": " ".join(words), "level": "third-fight", "files": ["fight.txt"]}
    text = porter("status", fight).out
    for part in (f"porter {' '.join(words)}", "third-fight", "--continue", "--skip", "--abort"):
        assert part in text
    assert porter(words[0], "--abort", "-C", fight).code == 0
    assert (patches(project), sealed_git(fight, "rev-parse", "HEAD")) == (before, at)
    assert porter(*words, "-C", fight).code == 1
    while True:
        (fight / "fight.txt").write_text(f"{len(list(fight.iterdir()))} {ran.code} {ran.err}\n")
        sealed_git(fight, "add", "fight.txt")
        ran = porter(words[0], "--continue", "-C", fight)
        if ran.code == 0:
            break
        assert "conflicts in fight.txt" in ran.err
    assert sealed_git(fight, "status", "--porcelain") == ""
    assert porter("check", "toy").code == 0
    assert json.loads(porter("status", fight, "--json").out)["change"] is None
    assert porter("undo", "toy", "-C", fight).code == 0
    assert patches(project) == before
    assert sealed_git(fight, "status", "--porcelain") == ""


def test_continue_of_another_command_names_the_one_in_progress(fight: Path, porter: Porter) -> None:
    assert porter("drop", "second-fight", "-C", fight).code == 1
    ran = porter("move", "--continue", "-C", fight)
    assert "`porter drop second-fight` is in progress" in ran.err


@pytest.mark.parametrize("words", [("move", "1", "--last"), ("drop", "1"), ("fold", "2")])
def test_edits_and_own_commits_in_the_tree_are_refused(
    toy: Path, porter: Porter, project: Path, words: tuple[str, ...]
) -> None:
    before = patches(project)
    (toy / "README.md").write_text("mine\n")
    ran = porter(*words, "-C", toy)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "local edits in README.md" in ran.err
    sealed_git(toy, "commit", "--quiet", "-am", "Mine")
    ran = porter(*words, "-C", toy)
    assert (ran.code, "1 commit that no level holds" in ran.err) == (1, True)
    assert patches(project) == before


@pytest.mark.forms(3)
@pytest.mark.parametrize(
    ("words", "at", "after"),
    [
        (("rename", "add-new", "add-it"), "add-new", "Add a new file"),
        (("drop", "add-new"), "add-new", "Widen a"),
        (("drop", "widen-a"), "widen-a", "The pinned commit"),
        (("fold", "add-new"), "add-new", "Widen a"),
        (("move", "add-new", "--first"), "widen-a", "Widen a"),
        (("split", "add-new", "half", "pkg/b.py"), "add-new", "Add a new file"),
    ],
)
def test_the_tree_stays_at_its_level_or_the_nearest_below(
    toy: Path, porter: Porter, words: tuple[str, ...], at: str, after: str
) -> None:
    assert porter("goto", at, toy).code == 0
    assert porter(*words, "-C", toy).code == 0
    assert head(toy) == after
    assert sealed_git(toy, "status", "--porcelain") == ""
    assert porter("undo", "-C", toy).code == 0
    assert sealed_git(toy, "status", "--porcelain") == ""
    assert head(toy) in ("The pinned commit", "Widen a", "Add a new file")


def test_series_that_changed_meanwhile_is_not_overwritten(
    fight: Path, porter: Porter, project: Path
) -> None:
    assert porter("drop", "second-fight", "-C", fight).code == 1
    assert porter("rename", "widen-a", "widen", "--port", "toy").code == 0
    after = patches(project)
    (fight / "fight.txt").write_text("both\n")
    sealed_git(fight, "add", "fight.txt")
    ran = porter("drop", "--continue", "-C", fight)
    assert (ran.code, "changed since `porter drop second-fight` began" in ran.err) == (1, True)
    assert porter("drop", "--abort", "-C", fight).code == 0
    assert patches(project) == after
    assert porter("goto", "third-fight", fight).code == 0
    assert sealed_git(fight, "status", "--porcelain") == ""


def test_what_other_ports_call_the_same_is_not_listed(
    change: Change, project: Path, recipes: Path
) -> None:
    write_files(project, {"recipes/mate/why.md": "drop-old\n", "notes.md": "drop-old\n"})
    ran = change("rename", "drop-old", "no-old")
    assert "notes.md:1" in ran.err
    assert "why.md" not in ran.err


def test_git_splits_a_level_by_hunks(toy: Path, porter: Porter, project: Path) -> None:
    """As docs/series.md says."""
    tree = sealed_git(toy, "rev-parse", "HEAD^{tree}")
    assert porter("goto", "add-new", toy).code == 0
    sealed_git(toy, "reset", "--quiet", "HEAD~")
    sealed_git(toy, "add", "pkg/b.py")
    sealed_git(toy, "commit", "--quiet", "-m", message("five", "Make it five"))
    sealed_git(toy, "add", "-A")
    sealed_git(toy, "commit", "--quiet", "-C", "ORIG_HEAD")
    ran = porter("refresh", toy)
    assert ran.code == 0, ran.err
    assert levels(project) == ["widen-a", "five", "add-new", "drop-old"]
    assert porter("goto", "drop-old", toy).code == 0
    assert sealed_git(toy, "rev-parse", "HEAD^{tree}") == tree


def test_levels_above_a_split_are_only_renumbered(change: Change) -> None:
    ran = change("split", "add-new", "five", "pkg/b.py")
    assert "renumbered  0004-drop-old.patch (was 0003-drop-old.patch)" in ran.out
    assert "removed" not in ran.out.replace("removed     0002-add-new.patch", "")


def test_logs_of_a_level_whose_tree_changes_are_named_once(
    change: Change, porter: Porter, project: Path
) -> None:
    text = f"# one\n# Level 3 drop-old of toy, tree {last_tree(project)},\n# on sim:hpu\n"
    write_files(project, {"migration_logs/toy/3-drop-old.sim-hpu.txt": text})
    ran = change("drop", "widen-a")
    assert "migration_logs/toy: 1 log of earlier trees" in ran.err
    assert (project / "migration_logs" / "toy" / "2-drop-old.sim-hpu.txt").exists()
    assert "earlier trees" not in change("move", "drop-old", "--first").err
