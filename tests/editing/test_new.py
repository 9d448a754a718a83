"""``porter new``: edits become a level of their own, and the commit template of every tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.series.series import load_series
from tests.small_project import message, sealed_git, write_files
from tests.tree.conftest import Porter, head
from tests.tree.test_export import patches

OPTIONS = (
    "-m", "Say more", "--why", "Because the tests need it.", "--devices", "hpu, npu",
    "--keeps", "everything", "--gains", "a level", "--origin", "these tests",
    "--forwarded", "not-needed",
)  # fmt: skip


def _editor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """Let git's editor be a shell script that gets the file as $1."""
    path = tmp_path / "editor.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("GIT_EDITOR", str(path))


def _edit(toy: Path) -> None:
    write_files(toy, {"README.md": "a toy, mine\n", "more.md": "more\n", "loose.txt": "loose\n"})
    sealed_git(toy, "add", "more.md")


@pytest.mark.forms(1)
@pytest.mark.parametrize("at", ["upstream", "widen-a", "drop-old"])
def test_edits_become_a_level_above_the_one_the_tree_is_at(
    toy: Path, porter: Porter, project: Path, at: str
) -> None:
    assert porter("goto", at, toy).code == 0
    before = patches(project)
    _edit(toy)
    ran = porter("new", "say-more", toy, *OPTIONS)
    assert ran.code == 0, ran.err
    assert "untracked, so not part of the level: loose.txt; `git add`" in ran.err
    names = ["widen-a", "add-new", "drop-old"]
    names.insert((["upstream", *names]).index(at), "say-more")
    series = load_series(project, "toy")
    assert [patch.level for patch in series.patches] == names
    new = series.patches[names.index("say-more")]
    assert sorted(file.path for file in new.files) == [b"README.md", b"more.md"]
    assert new.header.message == message("say-more", "Say more")
    assert (new.header.author.name, new.header.date) == (
        "Ada Test", "Tue, 2 Jan 2024 03:04:05 +0000",
    )  # fmt: skip
    assert head(toy) == "Say more"
    assert sealed_git(toy, "status", "--porcelain") == "?? loose.txt\n"
    assert porter("check", "toy").code == 0
    exported = patches(project)
    assert porter("export", "toy", toy).code == 0
    assert patches(project) == exported
    assert porter("undo", "-C", toy).code == 0
    assert {n: b for n, b in patches(project).items() if n != "levels.lock"} == before
    assert sealed_git(toy, "status", "--porcelain").splitlines() == [
        "M  README.md", "A  more.md", "?? loose.txt",
    ]  # fmt: skip
    assert porter("redo", "-C", toy).code == 0
    assert head(toy) == "Say more"
    assert sealed_git(toy, "status", "--porcelain") == "?? loose.txt\n"


def test_message_of_a_file(toy: Path, porter: Porter, project: Path, tmp_path: Path) -> None:
    _edit(toy)
    text = message("say-more", "Say more")
    (tmp_path / "message").write_text(text.replace("Level: say-more\n", ""))
    ran = porter("new", "say-more", toy, "-F", tmp_path / "message", "--gains", "much")
    assert ran.code == 0, ran.err
    made = load_series(project, "toy").patches[-1].header.message
    assert made == text.replace("Gains: a level", "Gains: much")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (message("other", "Say more"), "Level: expected say-more, found other"),
        (message("say-more", "Say more").replace("Keeps: everything\n", ""), "`Keeps:`"),
        (message("say-more", "Say more").replace("hpu", "gpu"), "found 'gpu'"),
    ],
)
def test_message_that_is_no_header_is_refused(
    toy: Path, porter: Porter, project: Path, tmp_path: Path, text: str, why: str
) -> None:
    before = patches(project)
    _edit(toy)
    (tmp_path / "message").write_text(text)
    ran = porter("new", "say-more", toy, "-F", tmp_path / "message")
    assert (ran.code, why in ran.err) == (2, True), ran.err
    assert patches(project) == before
    assert sealed_git(toy, "status", "--porcelain").startswith(" M README.md")


def test_editor_opens_with_every_field(
    toy: Path, porter: Porter, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _edit(toy)
    seen = tmp_path / "seen"
    fill = (
        "sed -i -e 's/^Devices:$/Devices: hpu/' -e 's/^Keeps:$/Keeps: all/' "
        "-e 's/^Gains:$/Gains: some/' -e 's/^Origin:$/Origin: none/' "
        "-e '1s/.*/Say more/' -e '3s/.*/Because./' \"$1\""
    )
    _editor(monkeypatch, tmp_path, f'cp "$1" {seen}\n{fill}')
    ran = porter("new", "say-more", toy)
    assert ran.code == 0, ran.err
    lines = seen.read_text().splitlines()
    for row in ("Level: say-more", "Devices:", "Keeps:", "Gains:", "Origin:"):
        assert row in lines
    header = load_series(project, "toy").patches[-1].header
    assert (header.subject, header.devices, header.gains) == ("Say more", ("hpu",), "some")
    assert "#" not in header.message


def test_text_of_an_editor_that_is_no_header_is_kept(
    toy: Path, porter: Porter, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _edit(toy)
    before = patches(project)
    _editor(monkeypatch, tmp_path, "sed -i '1s/.*/Say more/' \"$1\"")
    ran = porter("new", "say-more", toy)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "the text is kept" in ran.err
    assert patches(project) == before
    seen = tmp_path / "seen"
    _editor(monkeypatch, tmp_path, f'cp "$1" {seen}')
    assert porter("new", "say-more", toy).code == 2
    assert seen.read_text().startswith("Say more\n")


@pytest.mark.parametrize("script", ["exit 0", "exit 1"])
def test_editor_that_writes_nothing_changes_nothing(
    toy: Path, porter: Porter, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    script: str,
) -> None:  # fmt: skip
    _edit(toy)
    before = patches(project), sealed_git(toy, "status", "--porcelain")
    _editor(monkeypatch, tmp_path, script)
    ran = porter("new", "say-more", toy)
    assert (ran.code, "nothing changed" in ran.err) == (2, True)
    assert (patches(project), sealed_git(toy, "status", "--porcelain")) == before


def test_without_an_editor_the_missing_options_are_named(
    toy: Path, porter: Porter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_EDITOR", "VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    _edit(toy)
    ran = porter("new", "say-more", toy, "-m", "Say more", "--devices", "hpu")
    assert ran.code == 2
    assert "lacks --why, --keeps, --gains, --origin, --forwarded" in ran.err


def test_without_edits_the_template_is_prepared(toy: Path, porter: Porter, project: Path) -> None:
    before = patches(project)
    ran = porter("new", "say-more", toy, "--gains", "a level")
    assert (ran.code, ran.err) == (0, "")
    assert "no edits; the commit template is ready for say-more" in ran.out
    assert patches(project) == before
    text = sealed_git(toy, "config", "commit.template").strip()
    template = (toy / text).read_text()
    assert "\nLevel: say-more\n" in template
    assert "\nGains: a level\n" in template
    write_files(toy, {"README.md": "mine\n"})
    editor = (
        "sed -i -e '1s/.*/Say more/' -e '3s/.*/Because./' -e 's/^Devices:$/Devices: hpu/'"
        " -e 's/^Keeps:$/Keeps: all/' -e 's/^Origin:$/Origin: none/'"
    )
    sealed_git(toy, "-c", f"core.editor={editor}", "commit", "--quiet", "-a")
    assert porter("refresh", toy).code == 0
    header = load_series(project, "toy").patches[-1].header
    assert (header.level, header.gains, header.forwarded) == ("say-more", "a level", "not-needed")
    assert "\nLevel:\n" in (toy / text).read_text()


def test_template_is_the_trees_alone(toy: Path, porter: Porter, tmp_path: Path) -> None:
    (toy / "pkg" / "a.py").write_text("a = 1\n")
    sealed_git(toy, "-c", "core.editor=sed -i '1s/.*/Subject/'", "commit", "--quiet", "-a")
    assert "Level:\nDevices:\n" in sealed_git(toy, "log", "-1", "--format=%B")
    sub = toy / "LIB"
    (sub / "lib.py").write_text("lib = 2\n")
    sealed_git(sub, "commit", "--quiet", "-am", "In the submodule")
    sealed_git(toy, "worktree", "add", "--quiet", "--no-checkout", str(tmp_path / "linked"))
    for folder in (sub, tmp_path / "linked"):
        with pytest.raises(AssertionError):  # no template there
            sealed_git(folder, "config", "commit.template")


def test_template_prepared_for_a_level_outlives_a_change_of_the_series(
    toy: Path, porter: Porter, project: Path
) -> None:
    assert porter("new", "say-more", toy).code == 0
    assert porter("rename", "drop-old", "no-old", "-C", toy).code == 0
    assert "Level: say-more\n" in (toy / ".git" / "porter" / "commit-template").read_text()


def test_own_commits_below_become_levels_too(toy: Path, porter: Porter, project: Path) -> None:
    assert porter("goto", "1", toy).code == 0
    write_files(toy, {"one.md": "one\n"})
    sealed_git(toy, "add", "one.md")
    sealed_git(toy, "commit", "--quiet", "-m", message("one", "One"))
    _edit(toy)
    assert porter("new", "say-more", toy, *OPTIONS).code == 0
    levels = [patch.level for patch in load_series(project, "toy").patches]
    assert levels == ["widen-a", "one", "say-more", "add-new", "drop-old"]


def test_name_of_a_level_there_is_refused_before_the_editor(toy: Path, porter: Porter) -> None:
    _edit(toy)
    ran = porter("new", "add-new", toy)
    assert (ran.code, "there is a level add-new already (2)" in ran.err) == (2, True)


def test_conflict_with_a_level_above_continues(fight: Path, porter: Porter, project: Path) -> None:
    assert porter("goto", "first-fight", fight).code == 0
    write_files(fight, {"fight.txt": "x0\nmine\n"})
    ran = porter("new", "my-fight", fight, *OPTIONS)
    assert (ran.code, "`porter new --continue`" in ran.err) == (1, True)
    write_files(fight, {"fight.txt": "x0\nboth\n"})
    sealed_git(fight, "add", "fight.txt")
    ran = porter("new", "--continue", "-C", fight)
    while ran.code:
        write_files(fight, {"fight.txt": "x0\nall\n"})
        sealed_git(fight, "add", "fight.txt")
        ran = porter("new", "--continue", "-C", fight)
    assert "my-fight" in ran.out.splitlines()[-1]
    assert porter("check", "toy").code == 0
    assert sealed_git(fight, "status", "--porcelain") == ""


def test_new_above_a_level_that_is_off_is_refused(toy: Path, porter: Porter, project: Path) -> None:
    series = project / "patches" / "toy" / "series"
    series.write_text("0001-widen-a.patch\n0002-add-new.patch\n# off: 0003-drop-old.patch\n")
    _edit(toy)
    before = patches(project)
    ran = porter("new", "say-more", toy, *OPTIONS)
    assert (ran.code, "drop-old is off by default" in ran.err) == (2, True)
    assert patches(project) == before
