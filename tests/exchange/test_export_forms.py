"""``porter export --to-...``: the levels as a branch, a mailbox, a quilt folder or a diff."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.small_project import LEVELS, Upstreams, message, sealed_git, write_files
from tests.tree.conftest import Porter
from tests.tree.test_export import patches


def levels_of(project: Path) -> list[dict[str, str]]:
    lock = json.loads((project / "patches" / "toy" / "levels.lock").read_text())
    return list(lock["levels"])


pytestmark = pytest.mark.usefixtures("locked")


def test_branch_in_the_tree_is_the_levels(toy: Path, porter: Porter, project: Path) -> None:
    before = sealed_git(toy, "status", "--porcelain", "--branch")
    ran = porter("export", "toy", toy, "--to-branch", "port", "--level", "add-new")
    assert (ran.code, "branch port, 2 levels" in ran.out) == (0, True), ran.err
    assert sealed_git(toy, "rev-parse", "port").strip() == levels_of(project)[1]["commit"]
    assert sealed_git(toy, "status", "--porcelain", "--branch") == before
    ran = porter("export", "toy", toy, "--to-branch", "port")
    assert (ran.code, ran.err.count("\n"), "--force moves it" in ran.err) == (2, 1, True)
    assert porter("export", "toy", toy, "--to-branch", "port", "--force").code == 0
    assert sealed_git(toy, "rev-parse", "port").strip() == levels_of(project)[2]["commit"]
    sealed_git(toy, "checkout", "--quiet", "port")
    ran = porter("export", "toy", toy, "--to-branch", "port", "--force", "--level", "1")
    assert (ran.code, ran.err.count("\n")) == (2, 1)


def test_branch_goes_into_another_clone(
    porter: Porter, project: Path, upstreams: Upstreams, tmp_path: Path
) -> None:
    sealed_git(tmp_path, "clone", "--quiet", str(upstreams.folder / "toy"), "clone")
    clone = tmp_path / "clone"
    where = ("--repository", clone)
    assert porter("export", "toy", "--to-branch", "port", *where).code == 0
    assert sealed_git(clone, "log", "--format=%s", f"{upstreams.commits['toy']}..port").split(
        "\n"
    ) == ["Drop the old file", "Add a new file", "Widen a", ""]
    assert sealed_git(clone, "fsck", "--strict", "--no-dangling") == ""
    sealed_git(tmp_path, "init", "--quiet", "empty")
    ran = porter("export", "toy", "--to-branch", "port", "--repository", tmp_path / "empty")
    assert (ran.code, ran.err.count("\n"), "no commit" in ran.err) == (2, 1, True)
    ran = porter("export", "toy", "--to-branch", "a..b", *where)
    assert (ran.code, "expected a branch's name" in ran.err) == (2, True)


@pytest.mark.parametrize("form", ["mbox", "diff"])
def test_file_is_not_overwritten_without_force(
    porter: Porter, project: Path, tmp_path: Path, form: str
) -> None:
    target = tmp_path / "out"
    target.write_text("mine\n")
    ran = porter("export", "toy", f"--to-{form}", target)
    assert (ran.code, ran.err) == (2, f"porter: {target}: exists; --force overwrites it\n")
    assert target.read_text() == "mine\n"
    assert porter("export", "toy", f"--to-{form}", target, "--force").code == 0
    whole = target.read_bytes()
    assert porter("export", "toy", f"--to-{form}", target, "--force", "--level", "1").code == 0
    assert len(target.read_bytes()) < len(whole)
    ran = porter("export", "toy", f"--to-{form}", tmp_path)
    assert (ran.code, "expected the name of a file" in ran.err) == (2, True)


def test_quilt_folder_holds_the_same_bytes(porter: Porter, project: Path, tmp_path: Path) -> None:
    folder = project / "patches" / "toy"
    rows = [f"000{number}-{name}.patch" for number, name in enumerate(LEVELS, 1)]
    (folder / "series").write_text(f"# the toy\n{rows[0]}\n{rows[1]}\n# off: {rows[2]}\n")
    target = tmp_path / "quilt"
    assert porter("export", "toy", "--to-quilt", target).code == 0
    for name in (*rows, "series"):
        assert (target / name).read_bytes() == (folder / name).read_bytes()
    ran = porter("export", "toy", "--to-quilt", target, "--level", "1")
    assert (ran.code, ran.err.count("\n"), "--force" in ran.err) == (2, 1, True)
    (target / "mine").write_text("mine\n")
    assert porter("export", "toy", "--to-quilt", target, "--level", "1", "--force").code == 0
    assert sorted(path.name for path in target.iterdir()) == [rows[0], "mine", "series"]
    assert (target / "series").read_text() == f"# the toy\n{rows[0]}\n"


def test_quilt_folder_that_a_kill_left_is_completed(
    porter: Porter, project: Path, tmp_path: Path
) -> None:
    target = tmp_path / "quilt"
    target.mkdir()
    first = "0001-widen-a.patch"
    (target / first).write_bytes(patches(project)[first])
    (target / ".0002-add-new.patch.00ff.new").write_text("half")
    assert porter("export", "toy", "--to-quilt", target).code == 0
    whole = {path.name: path.read_bytes() for path in target.iterdir()}
    assert whole == {k: v for k, v in patches(project).items() if k.endswith(("patch", "series"))}
    (target / first).write_text("mine\n")
    ran = porter("export", "toy", "--to-quilt", target)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert f"{target}: holds {first}" in ran.err
    assert (target / first).read_text() == "mine\n"


def test_levels_that_are_off_stay_off_through_quilt(
    porter: Porter, project: Path, tmp_path: Path
) -> None:
    folder = project / "patches" / "toy"
    text = (folder / "series").read_text().replace("0003", "# off: 0003")
    (folder / "series").write_text(text)
    assert porter("export", "toy", "--to-quilt", tmp_path / "quilt").code == 0
    assert porter("export", "toy", "--to-mbox", tmp_path / "mails").code == 0
    assert (tmp_path / "mails").read_text().count("\nSubject: ") == 2
    before = patches(project)
    for name in before:
        (folder / name).unlink()
    (folder / "series").write_text("")
    assert porter("import", "toy", tmp_path / "quilt").code == 0
    assert patches(project)["series"] == before["series"]


def test_binary_patch_is_said_to_be_too_much_for_quilt(
    toy: Path, porter: Porter, project: Path, tmp_path: Path
) -> None:
    (toy / "pkg" / "x.bin").write_bytes(bytes(range(256)))
    sealed_git(toy, "add", "pkg")
    sealed_git(toy, "commit", "--quiet", "-m", message("odd", "Odd files"))
    assert porter("export", "toy", toy).code == 0
    ran = porter("export", "toy", "--to-quilt", tmp_path / "quilt")
    assert (ran.code, "0004-odd.patch: binary contents" in ran.err) == (0, True)


def test_message_that_a_mailbox_would_split_is_refused(
    toy: Path, porter: Porter, tmp_path: Path
) -> None:
    write_files(toy, {"pkg/m.py": "m\n"})
    sealed_git(toy, "add", "pkg")
    text = message("mail", "Mail").replace("Because", "From a@b Thu Dec  7 12:00:00 2023\nBecause")
    sealed_git(toy, "commit", "--quiet", "-m", text.replace("\n\nFrom", "\n\nSee\nFrom"))
    ran = porter("export", "toy", toy)
    assert ran.code == 0, ran.err
    ran = porter("export", "toy", "--to-mbox", tmp_path / "mails")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "(Mail): its message would not survive in a mailbox" in ran.err
    assert not (tmp_path / "mails").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--level", "1"],
        ["--force"],
        ["--to-diff", "x", "--check"],
        ["--to-diff", "x", "--repository", "."],
        ["--to-diff", "x", "--to-mbox", "y"],
        ["--to-diff", "x", "--level", "0"],
        ["--to-quilt", "x", "--level", "0"],
        ["--to-diff", "x", "--level", "nothing"],
    ],
)
def test_options_that_say_nothing_together_are_refused(
    toy: Path, porter: Porter, words: list[str]
) -> None:
    ran = porter("export", "toy", *words)
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert not Path("x").exists()
