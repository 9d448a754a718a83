"""A foreign tree has a pin's submodule where it holds none of its files itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.errors import BadInput
from porter.verify.foreign.files import open_files
from porter.verify.foreign.trees import ForeignTrees
from porter.verify.plan.port_trees import UpstreamTrees, open_trees
from tests.plain_upstream import git
from tests.small_project import Upstreams, make_project, make_upstreams


@pytest.fixture
def upstreams(tmp_path: Path) -> Upstreams:
    return make_upstreams(tmp_path / "upstreams")


@pytest.fixture
def trees(tmp_path: Path, upstreams: Upstreams) -> Iterator[UpstreamTrees]:
    with open_trees(make_project(tmp_path / "project", upstreams)) as opened:
        yield opened


@pytest.fixture
def fork(tmp_path: Path, upstreams: Upstreams) -> Path:
    """A clone of toy whose submodule is not checked out."""
    made = tmp_path / "fork"
    git(tmp_path, "clone", "-q", str(upstreams.folder / "toy.git"), str(made))
    return made


def run_folder(trees: UpstreamTrees, tree: Path | str) -> Path:
    foreign = ForeignTrees(trees, "toy", open_files(str(tree), Path()))
    return foreign.folder("toy", foreign.level, ())


def test_it_comes_from_the_pin_with_a_clone_a_revision_and_an_unpacked_archive(
    trees: UpstreamTrees, fork: Path
) -> None:
    for tree in (fork, f"{fork}@HEAD"):
        assert (run_folder(trees, tree) / "LIB" / "lib.py").read_text() == "lib = 1\n"
    shutil.rmtree(fork / ".git")
    (fork / "LIB").rmdir()

    assert (run_folder(trees, fork) / "LIB" / "lib.py").read_text() == "lib = 1\n"


def test_the_trees_own_files_stand_in_its_place(trees: UpstreamTrees, fork: Path) -> None:
    shutil.rmtree(fork / ".git")
    (fork / "LIB" / "lib.py").write_text("lib = 2\n")

    assert (run_folder(trees, fork) / "LIB" / "lib.py").read_text() == "lib = 2\n"


def test_another_commit_without_its_files_is_refused(trees: UpstreamTrees, fork: Path) -> None:
    other = git(fork, "rev-parse", "HEAD")[1].decode().strip()
    git(fork, "update-index", "--cacheinfo", f"160000,{other},LIB")
    git(fork, "commit", "-qm", "another")

    with pytest.raises(BadInput, match=rf"submodule LIB: expected commit {other}"):
        run_folder(trees, f"{fork}@HEAD")


def test_one_that_no_pin_has_is_left_out_and_named(trees: UpstreamTrees, fork: Path) -> None:
    git(fork, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},their/own")
    git(fork, "commit", "-qm", "another")

    foreign = ForeignTrees(trees, "toy", open_files(f"{fork}@HEAD", Path()))

    assert foreign.submodules_out == ("their/own",)
    assert not (foreign.folder("toy", foreign.level, ()) / "their").exists()


def test_the_same_tree_as_level_0_has_its_id(
    trees: UpstreamTrees, fork: Path, upstreams: Upstreams
) -> None:
    foreign = ForeignTrees(trees, "toy", open_files(str(fork), Path()))

    assert foreign.level.tree == upstreams.trees["toy"] == trees.levels("toy")[0].tree
