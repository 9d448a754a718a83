"""A small project and a tree of its port ``toy``, as for moving trees."""

from pathlib import Path

import pytest

from tests.small_project import message, sealed_git, write_files
from tests.tree.conftest import Porter, made, porter, project, toy, upstreams

__all__ = ["made", "porter", "project", "toy", "upstreams"]


@pytest.fixture(autouse=True)
def locked(project: Path, porter: Porter) -> None:
    """Lock the port beside, so that `porter check` judges the changed series alone."""
    assert porter("lock", "mate").code == 0


@pytest.fixture
def fight(toy: Path, porter: Porter) -> Path:
    """The tree with two more levels, first-fight and second-fight, which change the same line."""
    rows = "".join(f"x{n}\n" for n in range(9))
    write_files(toy, {"fight.txt": rows})
    sealed_git(toy, "add", "fight.txt")
    sealed_git(toy, "commit", "--quiet", "-m", message("first-fight", "Fight first"))
    write_files(toy, {"fight.txt": rows.replace("x4", "second")})
    sealed_git(toy, "commit", "--quiet", "-am", message("second-fight", "Fight again"))
    write_files(toy, {"fight.txt": rows.replace("x4", "third")})
    sealed_git(toy, "commit", "--quiet", "-am", message("third-fight", "Fight on"))
    assert porter("refresh", toy).code == 0
    return toy


@pytest.fixture
def recipes(project: Path) -> Path:
    """Recipes of toy that name its levels in every way, a list of mutants and a migration log."""
    folder = project / "recipes" / "toy"
    write_files(
        folder,
        {
            "sums.yaml": (
                "# levels of this recipe: widen-a and more\n"
                "title: sums of widen-a\n"
                "levels: [widen-a, 2, drop-old]  # three\n"
                "claims:\n"
                '  - {outputs: "*", levels: {from: widen-a, to: "drop-old"}, parity: {}}\n'
                "  - outputs: made\n"
                "    levels:\n"
                "      - add-new   # by name\n"
                "      - drop      # by prefix\n"
                "    against: {level: add-new}\n"
                "  - {counters: ops, less_than: {level: previous}}\n"
                "  - {throughput: t, ratio: {level: 1, at_least: 2}}\n"
            ),
            "mutants/equivalent.yaml": (
                "version: 1\nequivalents:\n"
                "  - {level: drop-old, file: pkg/a.py, before: a, after: b, reason: same}\n"
            ),
            "probe.py": "LEVEL = 'drop-old'\n",
        },
    )
    write_files(
        project,
        {
            "recipes/mate/pair.yaml": "companions: {toy: add-new}\nlevels: [add-new]\n",
            "docs/toy.md": "The level drop-old drops. So did drop-old-times.\n",
        },
    )
    return folder
