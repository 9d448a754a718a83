"""``porter rebase``: the series on another commit of the upstream, and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from porter.project_change import lock_project
from tests.small_project import (
    A_LINES,
    B_LINES,
    Upstreams,
    message,
    move_pin,
    replaced,
    sealed_git,
    series_steps,
    snapshot,
    write_files,
)
from tests.tree.conftest import REPOSITORY, Porter

LATER = {
    "clean": {"pkg/a.py": "# first\n" + "".join(A_LINES)},
    "merged": {"pkg/b.py": replaced(B_LINES, 5, "b5 = 'five'\n"), "pkg/new.py": "new = 1\n"},
    "conflict": {"pkg/b.py": replaced(B_LINES, 5, "b5 = 'upstream'\n")},
}


@pytest.fixture
def later(project: Path, upstreams: Upstreams) -> dict[str, str]:
    """Commits of toy's upstream after the pinned one, by what they do to the series."""
    pins = project / "upstream_pins.yaml"
    before = pins.read_text()
    found = {}
    for name, files in LATER.items():
        found[name] = move_pin(project, upstreams, dict(files))
        pins.write_text(before)
    return found


def next_commit(
    project: Path,
    upstreams: Upstreams,
    files: Mapping[str, str | None],
    gone: Sequence[str] = (),
    *,
    links: Mapping[str, str] | None = None,
    name: str = "toy",
) -> str:
    """Publish a commit after the pinned one in which files differ and submodules go or move."""
    work = Path(tempfile.mkdtemp(dir=project.parent))
    url = str(upstreams.folder / f"{name}.git")
    sealed_git(project.parent, "clone", "--quiet", url, str(work))
    write_files(work, files)
    for path in gone:
        (work / path).rmdir()
    sealed_git(work, "add", "--all")
    for path, oid in (links or {}).items():
        sealed_git(work, "update-index", "--cacheinfo", f"160000,{oid},{path}")
    sealed_git(work, "commit", "--quiet", "-m", "Later")
    commit = sealed_git(work, "rev-parse", "HEAD").strip()
    sealed_git(work, "push", "--quiet", "origin", f"HEAD:refs/heads/next-{commit[:12]}")
    return commit


def levels(out: str) -> dict[str, str]:
    return {row["level"]: row["status"] for row in json.loads(out)["levels"]}


@pytest.mark.forms(1)
@pytest.mark.parametrize("in_tree", [True, False])
def test_patches_that_fit_move_by_themselves(
    toy: Path, porter: Porter, project: Path, later: dict[str, str], in_tree: bool
) -> None:
    os.chdir(toy if in_tree else project)
    before = snapshot(project)
    ran = porter("rebase", "toy", "--onto", f"next-{later['clean'][:12]}", "--json")
    assert ran.code == 0, ran.err
    assert levels(ran.out) == {"widen-a": "moved", "add-new": "same", "drop-old": "moved"}
    assert later["clean"] in (project / "upstream_pins.yaml").read_text()
    assert porter("check", "toy").code == 0
    if in_tree:
        assert sealed_git(toy, "status", "--porcelain") == ""
        assert (toy / "pkg" / "a.py").read_text().startswith("# first\n")
    assert porter("undo", "toy").code == 0
    assert snapshot(project) == before
    if in_tree:
        assert sealed_git(toy, "status", "--porcelain") == ""
        assert not (toy / "pkg" / "a.py").read_text().startswith("# first\n")


def test_a_level_that_the_upstream_has_is_dropped_when_asked(
    toy: Path, porter: Porter, project: Path, later: dict[str, str]
) -> None:
    os.chdir(toy)
    before = snapshot(project)
    ran = porter("rebase", "--onto", later["merged"])
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "the upstream has add-new already" in ran.err
    assert snapshot(project) == before
    ran = porter("rebase", "--onto", later["merged"], "--drop-merged", "--json")
    assert levels(ran.out) == {"widen-a": "same", "add-new": "dropped", "drop-old": "same"}
    assert porter("check", "toy").code == 0
    assert sealed_git(toy, "status", "--porcelain") == ""


def test_a_conflict_without_a_tree_changes_nothing(
    porter: Porter, project: Path, later: dict[str, str]
) -> None:
    os.chdir(project)
    before = snapshot(project)
    ran = porter("rebase", "toy", "--onto", later["conflict"])
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "add-new conflicts in pkg/b.py" in ran.err
    assert snapshot(project) == before


@pytest.mark.forms(1)
@pytest.mark.parametrize("edited", [False, True])
def test_abort_returns_exactly(
    toy: Path, porter: Porter, project: Path, later: dict[str, str], edited: bool
) -> None:
    os.chdir(toy)
    if edited:
        write_files(toy, {"loose.txt": "mine\n"})
    before = snapshot(project), snapshot(toy), sealed_git(toy, "rev-parse", "HEAD")
    status = sealed_git(toy, "status", "--porcelain=v2", "--branch")
    ran = porter("rebase", "--onto", later["conflict"])
    assert "add-new conflicts in pkg/b.py" in ran.err
    assert "<<<<<<<" in (toy / "pkg" / "b.py").read_text()
    assert snapshot(project) == before[0]
    assert porter("rebase", "--abort").code == 0
    assert (snapshot(project), snapshot(toy), sealed_git(toy, "rev-parse", "HEAD")) == before
    assert sealed_git(toy, "status", "--porcelain=v2", "--branch") == status


def test_conflict_resolved_goes_on_to_the_end(
    toy: Path, porter: Porter, project: Path, later: dict[str, str]
) -> None:
    os.chdir(toy)
    assert porter("rebase", "--onto", later["conflict"]).code == 1
    assert porter("rebase", "--continue").code == 1
    write_files(toy, {"pkg/b.py": replaced(B_LINES, 5, "b5 = 'both'\n")})
    sealed_git(toy, "add", "pkg/b.py")
    ran = porter("rebase", "--continue", "--json")
    assert ran.code == 0, ran.err
    assert levels(ran.out) == {"widen-a": "same", "add-new": "changed", "drop-old": "same"}
    assert later["conflict"] in (project / "upstream_pins.yaml").read_text()
    assert porter("check", "toy").code == 0
    assert sealed_git(toy, "status", "--porcelain") == ""
    assert porter("goto", "0").code == 0
    assert (toy / "pkg" / "b.py").read_text() == LATER["conflict"]["pkg/b.py"]


def test_skip_leaves_the_level_in_conflict_out(
    toy: Path, porter: Porter, project: Path, later: dict[str, str]
) -> None:
    os.chdir(toy)
    assert porter("rebase", "--onto", later["conflict"]).code == 1
    ran = porter("rebase", "--skip", "--json")
    assert levels(ran.out) == {"widen-a": "same", "add-new": "dropped", "drop-old": "same"}
    assert porter("check", "toy").code == 0
    assert len(series_steps()) == 3


def test_pin_moved_by_hand_is_followed(
    project: Path, porter: Porter, upstreams: Upstreams, later: dict[str, str]
) -> None:
    os.chdir(project)
    assert porter("lock", "toy").code == 0
    move_pin(project, upstreams, dict(LATER["clean"]))
    ran = porter("rebase", "toy", "--json")
    assert ran.code == 0, ran.err
    assert set(levels(ran.out).values()) == {"same", "moved"}
    assert porter("check", "toy").code == 0
    assert later["clean"]


def test_pin_moved_by_hand_stays_when_the_replay_conflicts(
    project: Path, porter: Porter, upstreams: Upstreams
) -> None:
    os.chdir(project)
    assert porter("lock", "toy").code == 0
    move_pin(project, upstreams, dict(LATER["conflict"]))
    before = snapshot(project)
    ran = porter("rebase", "toy")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert snapshot(project) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--onto", "no-such-branch"), "no branch, tag or commit 'no-such-branch'"),
        (("--onto", "main"), "is at"),
        ((), "where its levels.lock has it"),
    ],
)
def test_what_cannot_be_a_new_upstream_is_said(
    project: Path, porter: Porter, arguments: tuple[str, ...], said: str
) -> None:
    os.chdir(project)
    assert porter("lock", "toy").code == 0
    before = snapshot(project)
    ran = porter("rebase", "toy", *arguments)
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert said in ran.err
    assert snapshot(project) == before


def wanted_and_submodules(project: Path) -> dict[str, object]:
    pin = yaml.safe_load((project / "upstream_pins.yaml").read_text())["pins"]["toy"]
    return {key: pin.get(key) for key in ("wanted", "submodules")}


@pytest.mark.forms(1)
@pytest.mark.parametrize("in_tree", [True, False])
def test_the_pin_names_nothing_that_the_upstream_lost(
    toy: Path, porter: Porter, project: Path, upstreams: Upstreams, in_tree: bool
) -> None:
    before = snapshot(project)
    onto = next_commit(project, upstreams, {".gitmodules": None, "tools/run.sh": None}, ["LIB"])
    os.chdir(toy if in_tree else project)
    ran = porter("rebase", "toy", "--onto", onto)
    assert ran.code == 0, ran.err
    assert "not in `wanted`: .gitmodules, tools/\n" in ran.out
    assert "no longer submodules, so not in the pin: LIB; pin lib stays" in ran.out
    assert wanted_and_submodules(project) == {
        "wanted": [".gitignore", "README.md", "pkg/"], "submodules": None,
    }  # fmt: skip
    assert porter("check", "toy").code == 0
    assert porter("undo", "toy").out.startswith("undone: rebase toy")
    assert snapshot(project) == before
    assert porter("redo", "toy").code == 0
    assert porter("check", "toy").code == 0


@pytest.mark.forms(1)
@pytest.mark.parametrize("conflict", [False, True])
def test_a_submodule_moves_with_its_upstream(
    toy: Path, porter: Porter, project: Path, upstreams: Upstreams, conflict: bool
) -> None:
    before = snapshot(project), snapshot(toy)
    lib = next_commit(project, upstreams, {"lib.py": "lib = 2\n"}, name="lib")
    files = LATER["conflict" if conflict else "clean"]
    onto = next_commit(project, upstreams, dict(files), links={"LIB": lib})
    os.chdir(toy)
    ran = porter("rebase", "--onto", onto)
    if conflict:
        assert ran.code == 1
        assert porter("rebase", "--abort").code == 0
        assert (snapshot(project), snapshot(toy)) == before
        assert porter("rebase", "--onto", onto).code == 1
        write_files(toy, {"pkg/b.py": replaced(B_LINES, 5, "b5 = 'both'\n")})
        sealed_git(toy, "add", "pkg/b.py")
        ran = porter("rebase", "--continue")
    assert ran.code == 0, ran.err
    assert f"submodule LIB: pin lib moves to {lib[:10]}" in ran.out
    assert (toy / "LIB" / "lib.py").read_text() == "lib = 2\n"
    assert sealed_git(toy, "status", "--porcelain") == ""
    assert porter("check", "toy").code == 0
    assert porter("undo").code == 0
    assert (snapshot(project), snapshot(toy)) == before


def test_what_a_person_must_decide_is_said(
    project: Path, porter: Porter, upstreams: Upstreams
) -> None:
    os.chdir(project)
    files = {"LICENSE": "Do as you like.\n", "more/new.py": "", "pkg/newer.py": ""}
    onto = next_commit(project, upstreams, dict(files))
    ran = porter("rebase", "toy", "--onto", onto)
    assert ran.code == 0, ran.err
    assert "new in the upstream, not in `wanted`: LICENSE, more/\n" in ran.out
    assert "licence: now NOASSERTION (LICENSE: a text of its own" in ran.out
    assert "the pin says MIT: read it" in ran.out


@pytest.mark.forms(1)
@pytest.mark.parametrize("in_tree", [True, False])
def test_a_renamed_file_is_found_though_other_new_files_are_not_here(
    toy: Path, porter: Porter, project: Path, upstreams: Upstreams, in_tree: bool
) -> None:
    """Nobody fetches a picture that is not wanted; git would read it."""
    os.chdir(toy if in_tree else project)
    moved = "# first\n" + "".join(A_LINES)
    files = {"pkg/a.py": None, "pkg/core/a.py": moved, "media/more.png": "more\n" * 50}
    onto = next_commit(project, upstreams, dict(files))
    ran = porter("rebase", "toy", "--onto", onto, "--json")
    assert ran.code == 0, ran.err
    assert levels(ran.out) == {"widen-a": "changed", "add-new": "same", "drop-old": "changed"}
    patch = (project / "patches" / "toy" / "0001-widen-a.patch").read_text()
    assert "+++ b/pkg/core/a.py" in patch
    assert porter("check", "toy").code == 0


def test_a_file_that_is_gone_conflicts_though_new_files_are_not_here(
    toy: Path, porter: Porter, project: Path, upstreams: Upstreams
) -> None:
    os.chdir(toy)
    before = snapshot(project), snapshot(toy)
    files = {"pkg/a.py": None, "media/more.png": "more\n" * 50}
    onto = next_commit(project, upstreams, dict(files))
    ran = porter("rebase", "--onto", onto)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "widen-a conflicts in pkg/a.py" in ran.err
    assert porter("rebase", "--abort").code == 0
    assert (snapshot(project), snapshot(toy)) == before
    assert porter("rebase", "--onto", onto).code == 1
    ran = porter("rebase", "--skip")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "drop-old conflicts in pkg/a.py" in ran.err
    sealed_git(toy, "rm", "--quiet", "pkg/a.py")
    ran = porter("rebase", "--continue", "--json")
    assert ran.code == 0, ran.err
    assert levels(ran.out) == {"widen-a": "dropped", "add-new": "same", "drop-old": "changed"}
    assert porter("check", "toy").code == 0


def test_new_line_ends_conflict_and_survive(
    toy: Path, porter: Porter, project: Path, upstreams: Upstreams
) -> None:
    os.chdir(toy)
    lines = "".join(A_LINES).replace("\n", "\r\n")
    onto = next_commit(project, upstreams, {"pkg/a.py": lines})
    assert "widen-a conflicts in pkg/a.py" in porter("rebase", "--onto", onto).err
    for number, text in ((3, "a3 = 'three'\r\n"), (30, "a30 = 'thirty'\r\n")):
        lines = replaced(lines.splitlines(keepends=True), number, text)
        (toy / "pkg" / "a.py").write_bytes(lines.encode())
        sealed_git(toy, "add", "pkg/a.py")
        ran = porter("rebase", "--continue")
    assert ran.code == 0, ran.err
    assert (toy / "pkg" / "a.py").read_bytes() == lines.encode()
    assert sealed_git(toy, "status", "--porcelain") == ""
    assert porter("check", "toy").code == 0


def test_levels_off_by_default_stay_off(
    toy: Path, porter: Porter, project: Path, later: dict[str, str]
) -> None:
    series = project / "patches" / "toy" / "series"
    series.write_text(series.read_text().replace("0003-", "# off: 0003-"))
    os.chdir(project)
    assert porter("lock", "toy").code == 0
    off = series.read_text()
    assert porter("rebase", "toy", "--onto", later["clean"]).code == 0
    assert series.read_text() == off
    assert porter("check", "toy").code == 0


def test_without_a_lock_a_rebase_is_as_with_one(
    project: Path, porter: Porter, upstreams: Upstreams, later: dict[str, str]
) -> None:
    os.chdir(project)
    assert not (project / "patches" / "toy" / "levels.lock").exists()
    assert porter("rebase", "toy", "--onto", later["clean"]).code == 0
    assert porter("check", "toy").code == 0
    (project / "patches" / "toy" / "levels.lock").unlink()
    move_pin(project, upstreams, dict(LATER["merged"]))
    ran = porter("rebase", "toy")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "levels.lock: not there, so nothing says where toy was" in ran.err


def test_a_kill_gives_back_the_pin_moved_by_hand(
    project: Path, porter: Porter, upstreams: Upstreams
) -> None:
    os.chdir(project)
    assert porter("lock", "toy").code == 0
    move_pin(project, upstreams, dict(LATER["clean"]))
    before = snapshot(project)
    script = (
        "import os, sys; from porter.editing import rebase; from porter.cli import main;"
        "rebase.replay = lambda *args: os.kill(os.getpid(), 9); main(['rebase', 'toy'])"
    )
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run([sys.executable, "-c", script], env=env).returncode == -9
    assert porter("status", "toy").code == 2
    with lock_project(project):
        assert snapshot(project) == before
    ran = porter("rebase", "toy", "--json")
    assert ran.code == 0, ran.err
    assert set(levels(ran.out).values()) == {"same", "moved"}


def test_a_kill_at_any_moment_can_be_aborted(
    toy: Path, porter: Porter, project: Path, later: dict[str, str]
) -> None:
    os.chdir(toy)
    before = snapshot(project), snapshot(toy)
    script = (
        "import os, sys; from porter.editing import session; from porter.cli import main;"
        "session.pick_rest = lambda *args: os.kill(os.getpid(), 9);"
        f"main(['rebase', '--onto', {later['conflict']!r}])"
    )
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run([sys.executable, "-c", script], env=env).returncode == -9
    assert snapshot(toy) != before[1]
    assert "add-new conflicts" in porter("rebase", "--continue").err
    assert porter("rebase", "--abort").code == 0
    assert (snapshot(project), snapshot(toy)) == before


@pytest.mark.forms(1)
@pytest.mark.parametrize("subject", ["Add a new file", "Say it in other words"])
def test_a_conflict_committed_by_hand_is_not_picked_again(
    toy: Path, porter: Porter, later: dict[str, str], subject: str
) -> None:
    os.chdir(toy)
    assert porter("rebase", "--onto", later["conflict"]).code == 1
    write_files(toy, {"pkg/b.py": replaced(B_LINES, 5, "b5 = 'both'\n")})
    sealed_git(toy, "commit", "--quiet", "-am", message("add-new", subject))
    ran = porter("rebase", "--continue", "--json")
    assert ran.code == 0, ran.err
    assert levels(ran.out) == {"widen-a": "same", "add-new": "changed", "drop-old": "same"}
    assert sealed_git(toy, "log", "-1", "--format=%s", "HEAD~1").strip() == subject
    assert porter("check", "toy").code == 0


def test_other_entries_edited_during_a_conflict_stay(
    toy: Path, porter: Porter, project: Path, later: dict[str, str]
) -> None:
    os.chdir(toy)
    pins = project / "upstream_pins.yaml"
    assert porter("rebase", "--onto", later["conflict"]).code == 1
    pins.write_text("# edited\n" + pins.read_text().replace("license: NONE", "license: MIT"))
    kept = pins.read_text()
    write_files(toy, {"pkg/b.py": replaced(B_LINES, 5, "b5 = 'both'\n")})
    sealed_git(toy, "add", "pkg/b.py")
    pins.write_text(kept.replace("tools/]", "tools/, media/]"))
    ran = porter("rebase", "--continue")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "the pin toy was edited since the rebase began" in ran.err
    pins.write_text(kept)
    assert porter("rebase", "--continue").code == 0
    text = pins.read_text()
    assert later["conflict"] in text
    assert text.startswith("# edited\n")
    assert "license: NONE" not in text


def test_an_untracked_file_in_the_way_stops_before_anything_changes(
    toy: Path, porter: Porter, project: Path, upstreams: Upstreams
) -> None:
    os.chdir(toy)
    onto = next_commit(project, upstreams, {**LATER["conflict"], "pkg/mine.py": "upstream\n"})
    write_files(toy, {"pkg/mine.py": "mine\n"})
    before = snapshot(project), snapshot(toy)
    ran = porter("rebase", "--onto", onto)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "untracked pkg/mine.py in the way" in ran.err
    assert (snapshot(project), snapshot(toy)) == before
    assert porter("rebase", "--abort").code == 2


def test_levels_that_turn_out_merged_after_a_conflict_are_dropped_when_asked(
    toy: Path, porter: Porter, project: Path, upstreams: Upstreams
) -> None:
    os.chdir(toy)
    first = replaced(A_LINES, 3, "a3 = 'upstream'\n")
    files = {"pkg/a.py": first, "pkg/new.py": "new = 1\n", **LATER["merged"]}
    onto = next_commit(project, upstreams, dict(files))
    assert "widen-a conflicts" in porter("rebase", "--onto", onto, "--drop-merged").err
    write_files(toy, {"pkg/a.py": replaced(A_LINES, 3, "a3 = 'both'\n")})
    sealed_git(toy, "add", "pkg/a.py")
    ran = porter("rebase", "--continue", "--json")
    assert ran.code == 0, ran.err
    assert levels(ran.out) == {"widen-a": "changed", "add-new": "dropped", "drop-old": "moved"}


def test_the_pin_can_name_another_repository(
    toy: Path, porter: Porter, project: Path, upstreams: Upstreams, tmp_path: Path
) -> None:
    os.chdir(toy)
    onto = next_commit(project, upstreams, dict(LATER["clean"]))
    sealed_git(tmp_path, "clone", "--quiet", "--bare", str(upstreams.folder / "toy.git"), "fork")
    for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        sealed_git(tmp_path / "fork", "config", key, "true")
    before = snapshot(project)
    ran = porter("rebase", "--url", tmp_path / "fork", "--onto", f"next-{onto[:12]}")
    assert ran.code == 0, ran.err
    assert f"url: file://{tmp_path}/fork\n" in (project / "upstream_pins.yaml").read_text()
    assert porter("check", "toy").code == 0
    assert porter("undo").code == 0
    assert snapshot(project) == before


def test_a_companion_that_moves_names_whom_it_concerns(
    project: Path, porter: Porter, upstreams: Upstreams
) -> None:
    os.chdir(project)
    assert porter("lock", "toy").code == 0
    onto = next_commit(project, upstreams, {"more.py": "more = 2\n"}, name="mate")
    ran = porter("rebase", "mate", "--onto", onto)
    assert "toy has mate as its companion: `porter lock toy`" in ran.out
    assert porter("check", "mate").code == 0
    assert porter("check", "toy").code == 1
    assert porter("lock", "toy").code == 0
    assert porter("check", "toy").code == 0


def test_a_series_changed_during_a_conflict_is_not_overwritten(
    toy: Path, porter: Porter, project: Path, later: dict[str, str]
) -> None:
    os.chdir(toy)
    assert porter("rebase", "--onto", later["conflict"]).code == 1
    patch = project / "patches" / "toy" / "0003-drop-old.patch"
    patch.write_text(patch.read_text().replace("Because the tests", "As the tests"))
    before = snapshot(project)
    write_files(toy, {"pkg/b.py": replaced(B_LINES, 5, "b5 = 'both'\n")})
    sealed_git(toy, "add", "pkg/b.py")
    ran = porter("rebase", "--continue")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "changed since `porter rebase toy --onto" in ran.err
    assert porter("rebase", "--abort").code == 0
    assert snapshot(project) == before


@pytest.mark.parametrize("in_tree", [True, False])
def test_a_series_with_a_patch_that_fails_stays(
    toy: Path, porter: Porter, project: Path, later: dict[str, str], in_tree: bool
) -> None:
    patch = project / "patches" / "toy" / "0003-drop-old.patch"
    patch.write_text(patch.read_text().replace("-a30 = 30", "-a30 = 31"))
    before = snapshot(project)
    os.chdir(toy if in_tree else project)
    if in_tree:
        assert porter("goto", "1").code == 0
    ran = porter("rebase", "toy", "--onto", later["clean"])
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "drop-old" in ran.err
    assert snapshot(project) == before
