"""A level's folder holds its submodules, as far as a recipe needs them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from porter.places import cache_dir
from porter.upstream.pins import load_pins
from porter.verify.plan.port_trees import UpstreamTrees, open_trees
from porter.verify.plan.trees import NotReachable, UselessNeed
from tests.small_project import Upstreams, make_project, make_upstreams


@pytest.fixture
def upstreams(tmp_path: Path) -> Upstreams:
    return make_upstreams(tmp_path / "upstreams")


@pytest.fixture
def trees(tmp_path: Path, upstreams: Upstreams) -> Iterator[UpstreamTrees]:
    with open_trees(make_project(tmp_path / "project", upstreams)) as opened:
        yield opened


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_submodule_is_in_the_folder_only_if_needed(trees: UpstreamTrees) -> None:
    level = trees.levels("toy")[1]

    assert "LIB/lib.py" in names(trees.folder("toy", level, ()))
    assert names(trees.folder("toy", level, ("LIB/",))) == {"LIB/lib.py"}
    assert names(trees.folder("toy", level, ("LIB/*.md",))) == {"LIB/README.md"}
    assert names(trees.folder("toy", level, ("LIB/lib.py", "tools/"))) >= {"LIB/lib.py"}
    without = trees.folder("toy", level, ("tools/",))
    assert not (without / "LIB").exists()


def test_a_missing_source_matters_only_if_it_is_needed(
    trees: UpstreamTrees, upstreams: Upstreams
) -> None:
    level = trees.levels("toy")[0]
    trees.folder("toy", level, ())
    shutil.rmtree(upstreams.folder / "lib.git")
    store = next(Path(p) for p in [trees._upstreams["lib"].git_dir])
    trees.close()
    trees._upstreams.pop("lib")
    shutil.rmtree(store)

    assert names(trees.folder("toy", level, ("tools/",)))
    with pytest.raises(NotReachable, match=r"submodule LIB: there is no git repository at "):
        trees.folder("toy", level, ("LIB/", "tools/"))


def test_an_entry_that_no_level_has_is_useless(trees: UpstreamTrees) -> None:
    level = trees.levels("toy")[0]

    trees.folder("toy", level, ("pkg/new.py", "pkg/"))  # a later level's
    with pytest.raises(UselessNeed, match=r"pkg/newer\.py"):
        trees.folder("toy", level, ("pkg/", "pkg/newer.py"))


def test_planning_writes_no_tree(tmp_path: Path, upstreams: Upstreams) -> None:
    root = make_project(tmp_path / "planned", upstreams)
    with closing(UpstreamTrees(root, load_pins(root), planning=True)) as trees:
        trees.folder("toy", trees.levels("toy")[0], ("pkg/",))

    assert not (cache_dir() / "trees").exists()
