"""What export gives out, import takes back: the same patch files, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given

from porter.series.series import load_series
from porter.upstream.pins import load_pins
from tests.conftest import PROJECT
from tests.exchange.generated_series import (
    FIELDS,
    SLOW,
    Change,
    Made,
    changes,
    made_upstream,
    patch_files,
    porter,
)
from tests.generated_trees import FILE, Tree
from tests.levels.test_series_as_tools import GIT_AM, plain_series, read_work_tree
from tests.plain_upstream import WHO, git, write_tree
from tests.served import Served

FORMS = ("branch", "mbox", "quilt")


def first_project(made: Made) -> Path:
    """Return a project whose series is made of the upstream's commits."""
    root = made.project("first")
    porter(root, "import", "gen", "--git", made.upstream, "levels")
    return root


def taken_back(made: Made, first: Path, form: str) -> dict[str, bytes]:
    """Export the series of ``first`` and import it into an empty one; return its files."""
    second, place = made.project(f"from-{form}"), made.top / form
    if form == "branch":
        porter(first, "export", "gen", "--to-branch", "out", "--repository", made.upstream)
        porter(second, "import", "gen", "--git", made.upstream, f"{made.commits[0]}..out")
    else:
        porter(first, "export", "gen", f"--to-{form}", place)
        porter(second, "import", "gen", place)
    return patch_files(second)


@SLOW
@given(found=changes())
@pytest.mark.slow
def test_every_form_gives_the_same_patch_files_back(found: list[Change]) -> None:
    if len(found) == 1:
        return
    with made_upstream(found) as made:
        first = first_project(made)
        expected = patch_files(first)
        lock = json.loads(expected["levels.lock"])
        trees = [git(made.upstream, "rev-parse", f"{oid}^{{tree}}") for oid in made.commits[1:]]
        assert [row["tree"] for row in lock["levels"]] == [t[1].decode().strip() for t in trees]
        for form in FORMS:
            assert taken_back(made, first, form) == expected, form


def last_tree(root: Path) -> str:
    lock = json.loads(patch_files(root)["levels.lock"])
    return str(lock["levels"][-1]["tree"])


@SLOW
@given(found=changes())
def test_diff_and_whole_tree_give_the_last_tree(found: list[Change]) -> None:
    if len(found) == 1 or found[0].state == found[-1].state:
        return
    with made_upstream(found) as made:
        first = first_project(made)
        expected = last_tree(first)
        diff, folder = made.top / "one.diff", made.top / "folder"
        porter(first, "export", "gen", "--to-diff", diff)
        git(made.upstream, "worktree", "add", "-q", "--detach", str(folder), made.commits[-1])
        (folder / ".git").unlink()
        for name, source in (
            ("by-diff", [diff]),
            ("by-folder", ["--tree", folder]),
            ("by-revision", ["--tree", "levels", "--git", made.upstream]),
        ):
            root = made.project(name)
            porter(root, "import", "gen", *source)
            assert last_tree(root) == expected, name
        git(made.upstream, "checkout", "-qf", "--detach", made.commits[0])
        git(made.upstream, "apply", "--index", str(diff))
        assert git(made.upstream, "write-tree")[1].decode().strip() == expected


@SLOW
@given(found=changes())
def test_git_am_makes_the_levels_of_the_mailbox(found: list[Change]) -> None:
    if len(found) == 1:
        return
    who = found[1].who  # git am takes one committer for all
    found = [replace(each, who=replace(each.who, name=who.name)) for each in found]
    with made_upstream(found) as made:
        first = first_project(made)
        porter(first, "export", "gen", "--to-mbox", made.top / "mails")
        git(made.upstream, "checkout", "-qf", "--detach", made.commits[0])
        env = {"GIT_COMMITTER_NAME": who.name, "GIT_COMMITTER_EMAIL": who.email}
        done = subprocess.run(
            [*GIT_AM, made.top / "mails"], cwd=made.upstream, env=os.environ | env,
            capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lock = json.loads(patch_files(first)["levels.lock"])
        assert (
            git(made.upstream, "rev-parse", "HEAD")[1].decode().strip()
            == (lock["levels"][-1]["commit"])
        )


@pytest.mark.skipif(not shutil.which("quilt"), reason="quilt is not installed")
@SLOW
@given(states=plain_series())
def test_quilt_makes_the_last_level_of_the_folder(states: list[Tree]) -> None:
    found = [Change(states[0], WHO, "upstream\n")]
    for number, (old, new) in enumerate(pairwise(states), 1):
        if old != new:
            text = f"Change\n\nA word.\n\nLevel: part-{number}\n{FIELDS}"
            found.append(Change(new, WHO, text))
    if len(found) == 1:
        return
    with made_upstream(found) as made:
        first = first_project(made)
        git(made.upstream, "checkout", "-qf", "--detach", made.commits[0])
        porter(first, "export", "gen", "--to-quilt", made.upstream / "patches")
        command = ["quilt", "--quiltrc", "-", "push", "-a", "--fuzz=0", "-q"]
        done = subprocess.run(command, cwd=made.upstream, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        pushed = {path: (FILE, body) for path, body in read_work_tree(made.upstream).items()}
        assert write_tree(made.upstream, pushed) == last_tree(first)


@pytest.mark.forms(1)
@pytest.mark.upstream
@pytest.mark.parametrize("port", [pin.name for pin in load_pins(PROJECT).ports()])
def test_our_series_come_back_byte_for_byte(served: Served, port: str, tmp_path: Path) -> None:
    paths = {path for p in load_series(PROJECT, port).patches for f in p.files for path in f.paths}
    there = paths & served.upstream(port).listing().keys()
    if served.covered(port, there) != there:
        pytest.skip(f"{port}: no source serves all files that the series touches")
    expected = patch_files(PROJECT, port)
    last = json.loads(expected["levels.lock"])["levels"][-1]["name"]
    root = tmp_path / "project"
    (root / "patches").mkdir(parents=True)
    shutil.copy(PROJECT / "upstream_pins.yaml", root)
    for folder in (PROJECT / "patches").iterdir():
        shutil.copytree(folder, root / "patches" / folder.name, ignore=_series_files)
    (root / "patches" / port / "series").write_text("")
    porter(PROJECT, "export", port, "--to-mbox", tmp_path / "mails", "--level", last)
    porter(root, "import", port, tmp_path / "mails")
    assert patch_files(root, port) | {"series": b""} == expected | {"series": b""}


def _series_files(_: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith("upstream.")]
