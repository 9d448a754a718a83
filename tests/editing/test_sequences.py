"""Random sequences of commands that change a series: it always builds, and undo brings it back."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from porter.cli import main
from porter.series.series import load_series
from tests.generated_trees import EXAMPLES
from tests.small_project import sealed_git, write_files
from tests.tree.test_export import patches

NAMES = ("ape", "bee", "cat", "dog", "elk")
KEEPING = ("rename", "split", "fold", "move")
"""Commands that keep the last level's tree, or stop at a conflict."""

index = st.integers(0, 9)
commands = st.one_of(
    st.tuples(st.just("refresh"), index),
    st.tuples(st.just("new"), index, st.sampled_from(NAMES)),
    st.tuples(st.just("rename"), index, st.sampled_from(NAMES)),
    st.tuples(st.just("move"), index, st.sampled_from(("--before", "--after")), index),
    st.tuples(st.just("move"), index, st.sampled_from(("--first", "--last"))),
    st.tuples(st.just("drop"), index),
    st.tuples(st.just("fold"), index),
    st.tuples(st.just("split"), index, st.sampled_from(NAMES), st.booleans()),
    st.tuples(st.just("goto"), index),
    st.tuples(st.sampled_from(("undo", "redo"))),
)


class Workplace:
    """A project and a tree of toy that commands change."""

    def __init__(self, project: Path, tree: Path) -> None:
        self.project, self.tree = project, tree
        self.edits = 0

    def porter(self, *words: str) -> int:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as err:
            code = main([*words])
        self.err = err.getvalue()
        assert code in (0, 1, 2), (words, self.err)
        assert self.err.count("\n") == 1 or not code, (words, self.err)
        return code

    @property
    def levels(self) -> list[str]:
        return [patch.level for patch in load_series(self.project, "toy").patches]

    def level(self, number: int) -> str:
        levels = self.levels
        return levels[number % len(levels)] if levels else "widen-a"

    def last_tree(self) -> str:
        at = sealed_git(self.tree, "rev-parse", "HEAD").strip()
        names = sealed_git(
            self.tree, "for-each-ref", "--format=%(tree)", "refs/porter/levels"
        ).splitlines()
        assert at
        return names[-1]

    def clean(self) -> str:
        return sealed_git(self.tree, "status", "--porcelain")

    def edit(self, number: int) -> None:
        """Edit a file that no other edit touches, or (a multiple of 3) one that others edit too."""
        self.edits += 1
        name = f"edit-{self.edits}.md" if number % 3 else "shared.md"
        write_files(self.tree, {name: f"{self.edits}\n"})
        sealed_git(self.tree, "add", name)

    def step(self, name: str, *words: object) -> None:
        number = words[0] if words and isinstance(words[0], int) else 0
        level = self.level(number)
        before, tree = patches(self.project), self.last_tree()
        if name in ("undo", "redo"):
            self.porter(name)
            if self.clean():  # what an undone refresh or new leaves as edits
                sealed_git(self.tree, "reset", "--quiet", "--hard")
            return
        if name in ("refresh", "new"):
            self.edit(number)
        lines: dict[str, list[str]] = {
            "refresh": [],
            "new": [
                str(words[-1]), "-m", "Subject", "--why", "Because.", "--devices", "hpu",
                "--keeps", "all", "--gains", "some", "--origin", "none", "--forwarded", "no",
            ],
            "move": [level, *(str(w) for w in words[1:2])],
            "split": [level, str(words[1]), "pkg/b.py", "edit-1.md"] if name == "split" else [],
            "rename": [level, str(words[-1])],
        }  # fmt: skip
        line = lines.get(name, [level])
        if name == "move" and len(words) == 3:
            line.append(self.level(int(str(words[2]))))
        if name == "split" and words[2]:
            line.append("--above")
        code = self.porter(name, *line)
        if (self.tree / ".git" / "porter" / "edit.json").exists():
            assert code == 1
            assert self.porter(name, "--abort") == 0
            code = 1
        if code:
            assert patches(self.project) == before, self.err
            sealed_git(self.tree, "reset", "--quiet", "--hard")
        elif name in KEEPING:
            assert self.last_tree() == tree


@contextmanager
def workplace(made: tuple[Path, Path], cache: str) -> Iterator[Workplace]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        shutil.copytree(made[0], folder / "project")
        shutil.copytree(made[1], folder / "cache")
        there = Path.cwd()
        os.environ |= {
            "PORTER_CACHE": str(folder / "cache"),
            "PORTER_ROOT": str(folder / "project"),
        }
        place = Workplace(folder / "project", folder / "toy")
        try:
            assert place.porter("apply", "toy", str(place.tree)) == 0
            assert place.porter("lock", "toy", "mate") == 0
            os.chdir(place.tree)
            yield place
        finally:
            os.chdir(there)
            os.environ["PORTER_CACHE"] = cache
            del os.environ["PORTER_ROOT"]


@settings(
    max_examples=EXAMPLES // 8 + 1,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.generate),  # each example takes seconds
)
@given(steps=st.lists(commands, min_size=2, max_size=7))
@pytest.mark.usefixtures("sealed")
def test_every_sequence_keeps_the_series_whole_and_is_undone(
    made: tuple[Path, Path], steps: list[tuple[object, ...]]
) -> None:
    with workplace(made, os.environ["PORTER_CACHE"]) as place:
        first = patches(place.project)
        for name, *words in steps:
            place.step(str(name), *words)
            assert place.porter("check", "toy") == 0, (name, words)
            assert place.clean() == "", (name, words)
        while place.porter("undo") == 0:
            if place.clean():
                sealed_git(place.tree, "reset", "--quiet", "--hard")
        assert "nothing to undo" in place.err
        assert patches(place.project) == first
        assert place.clean() == ""
