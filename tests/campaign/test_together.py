"""Two and ten porters at once on one project and two trees: they take turns, nothing is lost."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.campaign.conftest import SEED, Count
from tests.campaign.forked import SECONDS, Running, start
from tests.campaign.jobs import MARK
from tests.campaign.stage import Stage

WORDS = (
    ("refresh",),
    ("undo",),
    ("redo",),
    ("export",),
    ("goto", "add-new", "--keep"),
    ("rename", "add-new", "other-new"),
    ("rename", "other-new", "add-new"),
    ("move", "drop-old", "--first"),
    ("drop", "widen-a"),
    ("lock", "toy"),
    ("check", "toy"),
    ("status",),
    ("gc", "--now"),
    ("fetch", "toy"),
)


@pytest.mark.parametrize("many", [2, 10])
def test_porters_at_once_take_turns(base: Stage, count: Count, many: int) -> None:
    dice = random.Random(f"{SEED} {many} together")
    base.back("base")
    other = base.top / "work" / "other"
    base.must("apply", "toy", other, "--alone", cwd=base.project)
    base.keep("two trees")
    while True:
        base.back("two trees")
        for tree in (base.tree, other):
            path = tree / "README.md"  # no level touches it
            path.write_text(path.read_text() + f"{MARK[:-1]} {tree.name}\n")
        running: list[tuple[tuple[str, ...], Path, Running]] = []
        for number in range(many):
            words, tree = dice.choice(WORDS), (base.tree, other)[number % 2]
            begun = start(words, cwd=tree, env=base.env, scratch=base.kept / f"out-{number}")
            running.append((words, tree, begun))
        for words, tree, each in running:
            done = each.end(SECONDS * many)  # they take turns
            count.one(f"exit {done.code}")
            assert done.code in (0, 1, 2), (words, tree, done.words)
            assert not done.hung, (words, tree, done.words)
        _all_is_well(base, (base.tree, other))
        if not count.goes_on(count.rows.total() // many):
            break
    shutil.rmtree(other)


def _all_is_well(stage: Stage, trees: tuple[Path, Path]) -> None:
    checked = stage.porter("check", "toy", cwd=stage.project)
    assert checked.code == 0 or "levels.lock" in checked.out, checked.words
    series = "".join(path.read_text() for path in (stage.project / "patches/toy").glob("*.patch"))
    git_dir = f"--git-dir={stage.top / 'cache' / 'history.git'}"
    for tree in trees:
        done = stage.porter("status", cwd=tree)
        assert done.code == 0, done.words
        mine = f"{MARK[:-1]} {tree.name}"
        kept = mine in (tree / "README.md").read_text() or mine in series
        if not kept:  # then `porter undo` reaches it
            kept = bool(stage.git(git_dir, "log", "--all", "--oneline", f"-S{mine}").strip())
        assert kept, f"{tree.name}: its edit is lost"
    stage.porter("gc", "--now", cwd=stage.project)
    assert stage.leftovers() == []
