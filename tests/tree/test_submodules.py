"""A submodule is checked out at the levels that have it; others may have files in its place."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from porter.cli import main
from tests.small_project import Upstreams, message, move_pin, sealed_git, snapshot, write_files
from tests.tree.conftest import Porter, head
from tests.tree.test_crash import journal

OWN: dict[str, str | None] = {"LIB/lib.py": "lib = 'own'\n", "LIB/deep/more.py": "more = 1\n"}
SHAPES = {"folder": OWN, "file": {"LIB": "a file\n"}, "nothing": {}}


def add_level(project: Path, tree: Path, files: dict[str, str | None]) -> None:
    """Add a level 4 to toy that has ``files`` in place of its submodule."""
    work = project.parent / "author"
    shutil.copytree(tree, work)
    sealed_git(work, "rm", "--quiet", "--cached", "LIB")
    shutil.rmtree(work / "LIB")
    write_files(work, files)
    sealed_git(work, "add", "--all", "--sparse", "--", *files)
    diff = sealed_git(work, "diff", "--cached", "--full-index", "--binary", "--no-renames")
    subject, _, body = message("own-lib", "Own the library").partition("\n\n")
    (project / "patches" / "toy" / "0004-own-lib.patch").write_text(
        "From: Ada <ada@example.org>\nDate: Tue, 2 Jan 2024 03:04:05 +0100\n"
        f"Subject: [PATCH] {subject}\n\n{body}---\n{diff}"
    )
    with (project / "patches" / "toy" / "series").open("a") as series:
        series.write("0004-own-lib.patch\n")


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest, toy: Path, project: Path) -> dict[str, str | None]:
    """What stands in place of the submodule at level 4 of ``toy``, whose tree is at level 3."""
    add_level(project, toy, SHAPES[request.param])
    return SHAPES[request.param]


@pytest.fixture
def owned(toy: Path, project: Path, porter: Porter) -> Path:
    """A tree at level 3, with the submodule; level 4 has files in its place."""
    add_level(project, toy, OWN)
    assert porter("goto", "2", toy).code == 0
    assert porter("goto", "3", toy).code == 0
    return toy


def is_clean(tree: Path) -> bool:
    return sealed_git(tree, "status", "--porcelain", "--ignored") == ""


def at_3(tree: Path) -> None:
    """Assert that the tree is whole at level 3, with its submodule."""
    assert head(tree) == "Drop the old file"
    assert (tree / "LIB" / "lib.py").read_text() == "lib = 1\n"
    assert sealed_git(tree / "LIB", "status", "--porcelain", "--ignored") == ""
    assert is_clean(tree)


def at_4(tree: Path) -> None:
    """Assert that the tree is whole at level 4, without the submodule."""
    assert head(tree) == "Own the library"
    assert {name: text for name, text in snapshot(tree).items() if name.startswith("LIB")} == OWN
    assert not (tree / "LIB" / ".git").exists()
    assert is_clean(tree)


def test_every_level_has_what_its_tree_names(
    shape: dict[str, str | None], toy: Path, porter: Porter
) -> None:
    for command in (("goto", "4"), ("prev",), ("next",), ("goto", "0"), ("goto", "own")):
        ran = porter(*command, toy)
        assert ran.code == 0, ran.err
        if head(toy) == "Own the library":
            assert {n: t for n, t in snapshot(toy).items() if n.startswith("LIB")} == shape
            assert not (toy / "LIB" / ".git").exists()
        else:
            assert (toy / "LIB" / "lib.py").read_text() == "lib = 1\n"
            assert sealed_git(toy / "LIB", "status", "--porcelain") == ""
        assert is_clean(toy), command


@pytest.mark.parametrize("level", ["0", "3", "4"])
def test_a_new_tree_has_what_its_level_names(
    owned: Path, porter: Porter, tmp_path: Path, level: str
) -> None:
    fresh = tmp_path / "fresh" / "toy"
    ran = porter("apply", "toy", fresh, "--level", level, "--alone")
    assert ran.code == 0, ran.err
    assert is_clean(fresh)
    assert porter("goto", "3", fresh).code == 0
    at_3(fresh)
    assert porter("goto", "4", fresh).code == 0
    at_4(fresh)


def test_the_level_is_fit_for_review_and_exported_as_it_is(
    owned: Path, project: Path, porter: Porter
) -> None:
    assert porter("goto", "4", owned).code == 0
    ran = porter("export", "toy", owned, "--check")
    assert (ran.code, ran.out.count("unchanged")) == (0, 4), ran.out
    for command in (("lint", "toy"), ("lock", "toy", "mate"), ("check", "toy")):
        ran = porter(*command)
        assert ran.code == 0, (command, ran.out, ran.err)


def test_a_patch_may_not_set_a_submodules_commit(
    owned: Path, project: Path, porter: Porter
) -> None:
    patch = project / "patches" / "toy" / "0004-own-lib.patch"
    text = patch.read_text()
    start = text.index("diff --git a/LIB b/LIB\n")
    commit = sealed_git(owned, "rev-parse", "HEAD:LIB").strip()
    other = commit[::-1]
    patch.write_text(
        f"{text[:start]}diff --git a/LIB b/LIB\nindex {commit}..{other} 160000\n--- a/LIB\n"
        f"+++ b/LIB\n@@ -1 +1 @@\n-Subproject commit {commit}\n+Subproject commit {other}\n"
    )
    ran = porter("lint", "toy")
    assert (ran.code, "the pin sets a submodule's commit" in ran.out) == (1, True)
    ran = porter("lock", "toy")
    assert (ran.code, f"the tree names commit {other}" in ran.err) == (1, True)


@pytest.mark.forms(2)
@pytest.mark.parametrize("what", ["edit", "stage", "add", "commit"])
def test_work_inside_the_submodule_is_not_left_behind(
    owned: Path, porter: Porter, what: str
) -> None:
    lib = owned / "LIB"
    write_files(lib, {"new.py" if what == "add" else "lib.py": "mine\n"})
    if what in ("stage", "commit"):
        sealed_git(lib, "add", ".")
    if what == "commit":
        sealed_git(lib, "commit", "--quiet", "-m", "Mine")
    before = snapshot(owned)
    for command in (("next", owned), ("next", owned, "--keep"), ("goto", "4", owned)):
        ran = porter(*command)
        assert (ran.code, "LIB: " in ran.err, "submodule" in ran.err) == (1, True, True), ran.err
        assert (snapshot(owned), head(owned)) == (before, "Drop the old file")
    assert porter("prev", owned).code == 0  # it has the submodule, too
    assert (owned / "LIB" / ("new.py" if what == "add" else "lib.py")).read_text() == "mine\n"


def test_ignored_files_stay_where_they_are(owned: Path, porter: Porter) -> None:
    (owned / ".git" / "modules" / "LIB" / "info" / "exclude").write_text("*.log\n")
    write_files(owned, {"LIB/run.log": "ran\n"})
    for command in ("next", "prev"):
        assert porter(command, owned).code == 0
        assert (owned / "LIB" / "run.log").read_text() == "ran\n"
        assert sealed_git(owned, "status", "--porcelain") == ""


def test_file_in_the_way_of_the_submodules_is_refused(owned: Path, porter: Porter) -> None:
    assert porter("next", owned).code == 0
    sealed_git(owned, "rm", "--quiet", "LIB/lib.py")
    sealed_git(owned, "commit", "--quiet", "-m", message("less", "Less"))
    sealed_git(owned, "branch", "mine")
    write_files(owned, {"LIB/lib.py": "mine\n"})
    ran = porter("goto", "3", owned)
    assert (ran.code, "would overwrite untracked files: LIB/lib.py;" in ran.err) == (1, True)
    assert (owned / "LIB" / "lib.py").read_text() == "mine\n"


def test_file_in_the_way_of_the_levels_own_is_refused(owned: Path, porter: Porter) -> None:
    (owned / ".git" / "modules" / "LIB" / "info" / "exclude").write_text("deep/\n")
    write_files(owned, {"LIB/deep/more.py": "mine\n"})
    ran = porter("next", owned)
    assert (ran.code, "would overwrite untracked files: LIB/deep/more.py;" in ran.err) == (1, True)
    assert (owned / "LIB" / "deep" / "more.py").read_text() == "mine\n"
    shutil.rmtree(owned / "LIB" / "deep")
    at_3(owned)


def test_edits_elsewhere_are_carried_along(owned: Path, porter: Porter) -> None:
    write_files(owned, {"README.md": "mine\n"})
    for command, own in (("next", True), ("prev", False)):
        assert porter(command, owned).code == 0
        assert (owned / "README.md").read_text() == "mine\n"
        assert (owned / "LIB" / ".git").exists() != own
    text = (owned / "pkg" / "a.py").read_text().replace("a15 = 15", "a15 = 'mine'")
    write_files(owned, {"README.md": "a toy\n", "pkg/a.py": text})
    assert porter("goto", "4", owned).code == 0
    assert porter("goto", "0", owned).code == 1
    ran = porter("goto", "0", owned, "--keep")
    assert (ran.code, "carried along: pkg/a.py" in ran.out) == (0, True)
    assert (owned / "LIB" / "lib.py").read_text() == "lib = 1\n"
    ran = porter("goto", "4", owned, "--keep")
    assert (owned / "LIB" / "lib.py").read_text() == "lib = 'own'\n"
    assert sealed_git(owned, "status", "--porcelain") == " M pkg/a.py\n"


def test_refused_move_leaves_the_submodule_in_place(owned: Path, porter: Porter) -> None:
    porter("goto", "0", owned)
    write_files(owned, {"pkg/a.py": "mine\n"})
    for command in (("goto", "4", owned), ("goto", "4", owned, "--keep")):
        ran = porter(*command)
        assert (ran.code, "pkg/a.py" in ran.err) == (1, True)
        assert (owned / "LIB" / "lib.py").read_text() == "lib = 1\n"
        assert sealed_git(owned, "status", "--porcelain") == " M pkg/a.py\n"


@pytest.mark.forms(2)
@pytest.mark.parametrize("left", ["nothing", "one file", "no link", "half of a level"])
def test_move_killed_before_the_level_is_there_is_undone(
    owned: Path, porter: Porter, left: str
) -> None:
    target = "refs/porter/levels/0004-own-lib"
    journal(owned, "HEAD", target)
    if left != "nothing":
        (owned / "LIB" / "lib.py").unlink()
    if left in ("no link", "half of a level"):
        shutil.rmtree(owned / "LIB")
        (owned / ".git/modules/LIB/index").unlink()
        (owned / ".git/modules/LIB/index.lock").write_bytes(b"")
    if left == "half of a level":
        write_files(owned, {"LIB/lib.py": "lib = 'o", "LIB/deep/more.py": "more = 1\n"})
    ran = porter("status", owned)
    assert (ran.code, ran.err) == (0, "porter: an interrupted `porter goto x` was undone\n")
    at_3(owned)


@pytest.mark.forms(2)
@pytest.mark.parametrize("left", ["no link", "no files", "half of a file", "no head"])
def test_move_killed_before_the_submodule_is_there_is_finished(
    owned: Path, porter: Porter, left: str
) -> None:
    porter("goto", "4", owned)
    journal(owned, "HEAD", "HEAD~1")
    sealed_git(owned, "read-tree", "-u", "-m", "HEAD", "HEAD~1")
    shutil.rmtree(owned / "LIB")
    if left != "no link":
        write_files(owned, {"LIB/.git": "gitdir: ../.git/modules/LIB\n"})
    if left == "half of a file":
        write_files(owned, {"LIB/lib.py": "lib ="})
    if left == "no head":
        (owned / ".git/modules/LIB/index.lock").write_bytes(b"")
    ran = porter("status", owned)
    assert (ran.code, ran.err) == (0, "porter: an interrupted `porter goto x` was finished\n")
    at_3(owned)


@pytest.mark.parametrize("keep", [[], pytest.param(["--keep"], marks=pytest.mark.slow)])
def test_killed_before_any_git_process_the_tree_is_at_one_level(
    owned: Path, porter: Porter, keep: list[str]
) -> None:
    mine = (owned / "pkg" / "a.py").read_text().replace("a15 = 15", "a15 = 'mine'")
    write_files(owned, {"pkg/a.py": mine} if keep else {})
    ends = set()
    for level, back in (("4", "0"), ("0", "4")):
        assert porter("goto", back, owned, *keep).code == 0
        number, code = 0, 9
        while code == 9:
            code = killed_before_git(number, "goto", level, str(owned), *keep)
            assert porter("status", owned).code == 0
            ends.add(head(owned))
            check_submodule(owned)
            assert sealed_git(owned, "status", "--porcelain") == (" M pkg/a.py\n" if keep else "")
            assert porter("goto", back, owned, *keep).code == 0
            number += 1
        assert (code, number > 6) == (0, True)
    assert ends == {"The pinned commit", "Own the library"}


def killed_before_git(number: int, *args: str) -> int:
    """Run porter in a process that ends at its git process of that number; return its status."""
    import porter.git.run

    started, command = 0, porter.git.run.git_command

    def git_command(*words: str) -> list[str]:
        nonlocal started
        started += 1
        if started > number:
            os._exit(9)
        return command(*words)

    child = os.fork()
    if child == 0:
        try:
            porter.git.run.git_command = git_command
            os._exit(main(args))
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check_submodule(tree: Path) -> None:
    """Assert that the submodule's place is as HEAD has it."""
    own = head(tree) == "Own the library"
    assert (tree / "LIB" / ".git").exists() != own
    assert (tree / "LIB" / "lib.py").read_text() == ("lib = 'own'\n" if own else "lib = 1\n")
    assert (tree / "LIB" / "deep" / "more.py").exists() == own
    if not own:
        assert sealed_git(tree / "LIB", "status", "--porcelain", "--ignored") == ""


def test_file_put_into_the_submodule_after_the_crash_is_kept(owned: Path, porter: Porter) -> None:
    porter("goto", "4", owned)
    journal(owned, "HEAD", "HEAD~1")
    sealed_git(owned, "read-tree", "-u", "-m", "HEAD", "HEAD~1")
    write_files(owned, {"LIB/lib.py": "mine\n"})
    assert porter("status", owned).code == 0
    assert (owned / "LIB" / "lib.py").read_text() == "mine\n"


def test_status_says_where_the_submodule_is_checked_out(owned: Path, porter: Porter) -> None:
    for level, there in (("3", True), ("4", False)):
        porter("goto", level, owned)
        value = json.loads(porter("status", owned, "--json").out)
        assert value["submodules"] == {"LIB": {"populated": there, "reason": ""}}


def test_command_that_gitmodules_names_never_runs_and_stops_nothing(
    project: Path, upstreams: Upstreams, porter: Porter, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    text = f'[submodule "LIB"]\n\tpath = LIB\n\turl = ../lib\n\tupdate = !touch {ran}\n'
    move_pin(project, upstreams, {".gitmodules": text})
    tree = tmp_path / "w" / "toy"
    write_files(tmp_path, {"w/.keep": ""})
    for command in (
        ("apply", "toy", tree),
        ("status", tree),
        ("goto", "1", tree),
        ("next", tree),
        ("log", tree),
        ("show", "1", "-C", tree),
        ("diff", "0", "2", "-C", tree),
        ("diff", "-C", tree),
    ):
        done = porter(*command)
        assert (done.code, done.err) == (0, ""), command
    write_files(tree, {"pkg/a.py": (tree / "pkg/a.py").read_text().replace("a15", "mine")})
    write_files(tree, {"LIB/lib.py": "mine\n"})
    assert "pkg/a.py" in porter("status", tree).out
    assert "LIB" in porter("status", tree).out
    assert "local edits in pkg/a.py" in porter("goto", "0", tree).err
    for command in (("goto", "0", tree, "--keep"), ("goto", "3", tree, "--keep")):
        assert porter(*command).code == 0, command
    assert porter("export", "toy", tree, "--check").code == 0
    assert not ran.exists()


def test_submodule_follows_a_move_of_its_pin(
    owned: Path, project: Path, upstreams: Upstreams, porter: Porter, tmp_path: Path
) -> None:
    lib = tmp_path / "next-lib"
    sealed_git(tmp_path, "clone", "--quiet", str(upstreams.folder / "lib.git"), str(lib))
    write_files(lib, {"lib.py": "lib = 2\n", "newer.py": "newer = 1\n"})
    sealed_git(lib, "add", ".")
    sealed_git(lib, "commit", "--quiet", "-m", "The next lib")
    commit, tree = sealed_git(lib, "rev-parse", "HEAD", "HEAD^{tree}").split()
    sealed_git(lib, "push", "--quiet", "origin", "HEAD:refs/heads/next")
    move_pin(project, upstreams, {}, links={"LIB": commit})
    pins = project / "upstream_pins.yaml"
    text = pins.read_text().replace(upstreams.commits["lib"], commit)
    pins.write_text(text.replace(upstreams.trees["lib"], tree))

    for level in ("0", "3"):
        assert porter("goto", level, owned).code == 0
        assert sealed_git(owned / "LIB", "rev-parse", "HEAD").strip() == commit
        assert (owned / "LIB" / "lib.py").read_text() == "lib = 2\n"
        assert (owned / "LIB" / "newer.py").exists()
        assert is_clean(owned)
    ran = porter("goto", "4", owned)
    assert (ran.code, "0004-own-lib.patch does not apply" in ran.err) == (1, True)


def test_unwanted_file_of_a_submodule_stays_out(
    project: Path, porter: Porter, tmp_path: Path
) -> None:
    pins = project / "upstream_pins.yaml"
    text = pins.read_text()
    at = text.index("  lib:\n")
    pins.write_text(f"{text[:at]}  lib:\n    wanted: [README.md]\n{text[at + len('  lib:') + 1 :]}")
    (lib,) = Path(os.environ["PORTER_CACHE"]).glob("store/lib.git")
    shutil.rmtree(lib)
    ran = porter("apply", "toy", tmp_path / "tree")
    assert (ran.code, ran.err) == (0, "")
    folder = tmp_path / "tree" / "LIB"
    assert sorted(path.name for path in folder.iterdir()) == [".git", "README.md"]
    assert sealed_git(folder, "status", "--porcelain") == ""
