"""A level's folder holds its submodules, as far as a recipe needs them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from porter.git.objects import Oid
from porter.git.odb import Odb
from porter.places import cache_dir
from porter.upstream.pins import load_pins
from porter.verify.plan.port_trees import UpstreamTrees, open_trees
from porter.verify.plan.select import plan_recipe
from porter.verify.plan.trees import NotReachable, UselessNeed
from porter.verify.recipe.load import load_recipe
from tests.small_project import Upstreams, make_project, make_upstreams, write_series
from tests.verify.folder_trees import write_recipe


@pytest.fixture
def upstreams(tmp_path: Path) -> Upstreams:
    return make_upstreams(tmp_path / "upstreams")


@pytest.fixture
def trees(tmp_path: Path, upstreams: Upstreams) -> Iterator[UpstreamTrees]:
    with open_trees(make_project(tmp_path / "project", upstreams)) as opened:
        yield opened


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def inside_lib(folder: Path) -> set[str]:
    return {name for name in names(folder) if name.startswith("LIB/")}


def test_a_submodule_is_in_the_folder_only_if_needed(trees: UpstreamTrees) -> None:
    level = trees.levels("toy")[1]

    assert "LIB/lib.py" in names(trees.folder("toy", level, ()))
    assert inside_lib(trees.folder("toy", level, ("LIB/",))) == {"LIB/lib.py"}
    assert inside_lib(trees.folder("toy", level, ("LIB/*.md",))) == {"LIB/README.md"}
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


def test_an_excluding_entry_that_takes_nothing_out_is_useless_too(trees: UpstreamTrees) -> None:
    level = trees.levels("toy")[0]

    trees.folder("toy", level, ("pkg/", "!pkg/old.py", "!README.md"))
    with pytest.raises(UselessNeed, match=r"!pkg/older\.py"):
        trees.folder("toy", level, ("pkg/", "!pkg/older.py"))


@pytest.mark.parametrize("needs", [("tools/",), ("tools/", "!pkg/"), ()])
def test_what_the_series_touches_is_in_every_tree(
    trees: UpstreamTrees, needs: tuple[str, ...]
) -> None:
    upstream, *_, last = trees.levels("toy")

    first, latest = (names(trees.folder("toy", level, needs)) for level in (upstream, last))

    assert first >= {"pkg/a.py", "pkg/b.py", "pkg/old.py"}
    assert latest >= {"pkg/a.py", "pkg/b.py", "pkg/new.py"}
    assert "pkg/old.py" not in latest


def test_a_file_that_a_patch_adds_beside_what_the_pin_wants_is_in_the_tree(
    tmp_path: Path, upstreams: Upstreams
) -> None:
    root = make_project(tmp_path / "adding", upstreams)
    shutil.rmtree(root / "patches" / "toy")
    step = ("compat", "Add a module", {"compat.py": "x = 1\n", "docs/note.md": "read me\n"})
    write_series(root, "toy", upstreams.folder / "toy", [step])
    with open_trees(root) as trees:
        level = trees.levels("toy")[1]
        assert names(trees.folder("toy", level, ())) >= {"compat.py", "docs/note.md"}


def test_traces_are_known_by_the_files_of_their_trees(tmp_path: Path, upstreams: Upstreams) -> None:
    """The same level beside another series holds other files, and is another run."""
    files = []
    for name, changed in (("one", "pkg/b.py"), ("two", "README.md")):
        root = make_project(tmp_path / name, upstreams)
        shutil.rmtree(root / "patches" / "toy")
        write_series(root, "toy", upstreams.folder / "toy", [("x", "Edit", {changed: "x = 1\n"})])
        recipe = 'needs: [tools/]\nclaims: [{outputs: "*", parity: {}}]\n'
        loaded = load_recipe(write_recipe(root, "toy", "one", recipe, ""))
        with open_trees(root) as trees:
            planned = plan_recipe(loaded, trees.levels("toy"), None, trees)
        files.append(planned.files)

    assert files[0][0] != files[1][0]


def test_planning_writes_no_tree(tmp_path: Path, upstreams: Upstreams) -> None:
    root = make_project(tmp_path / "planned", upstreams)
    with closing(UpstreamTrees(root, load_pins(root), planning=True)) as trees:
        trees.folder("toy", trees.levels("toy")[0], ("pkg/",))

    assert not (cache_dir() / "trees").exists()


def requests(
    root: Path, upstreams: Upstreams, levels: int, monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """Return how many objects each request to git asks for while the folders of all levels are
    planned a second time."""
    steps = [(f"level-{n}", f"Step {n}", {f"pkg/deep/{n}.py": f"n = {n}\n"}) for n in range(levels)]
    shutil.rmtree(root / "patches" / "toy")
    write_series(root, "toy", upstreams.folder / "toy", steps)
    asked: list[int] = []
    ask = Odb._ask

    def watched(odb: Odb, oids: Iterable[Oid], *how: Any) -> object:
        wanted = list(oids)
        if wanted:
            asked.append(len(wanted))
        return ask(odb, wanted, *how)

    for again in (False, True):
        if again:
            monkeypatch.setattr(Odb, "_ask", watched)
        with open_trees(root) as opened:
            for level in opened.levels("toy"):
                opened.folder("toy", level, ("pkg/",))
    monkeypatch.setattr(Odb, "_ask", ask)
    return asked


def test_requests_to_git_do_not_grow_with_the_levels(
    tmp_path: Path, upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = requests(make_project(tmp_path / "few", upstreams), upstreams, 2, monkeypatch)
    many = requests(make_project(tmp_path / "many", upstreams), upstreams, 9, monkeypatch)

    assert len(many) == len(few)
