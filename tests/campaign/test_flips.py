"""Bits that turned over in every kind of cached file: found, or of no consequence."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.campaign.conftest import SEED, Count
from tests.campaign.stage import Stage

KINDS = {
    "packs": "store/*.git/objects/pack/*.pack",
    "indexes of packs": "store/*.git/objects/pack/*.idx",
    "loose objects": "store/*.git/objects/??/*",
    "memos of levels": "levels/**/*",
    "history": "history.git/objects/*/*",
    "registry": "registry/**/*",
    "trees": "trees/**/*",
    "traces": "traces/**/*",
    "verdicts": "verdicts/**/*",
    "probe names": "probe-names/**/*",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_found_or_harmless(base: Stage, kind: str, count: Count) -> None:
    dice = random.Random(f"{SEED} {kind} flips")
    base.back("base")
    (base.tree / "pkg" / "b.py").open("a").write("# mine\n")
    base.must("refresh")
    base.must("check", cwd=base.project)
    base.keep("flips")
    project, tree = base.see_project(), base.see_tree()
    files = [path for path in sorted((base.top / "cache").glob(KINDS[kind])) if path.is_file()]
    files = [path for path in files if path.stat().st_size and path.suffix != ".lock"]
    if not files:
        pytest.skip(f"the stage's cache has no {kind}")
    while count.time_left():
        base.back("flips")
        path = dice.choice(files)
        _flip(path, dice)
        checked = base.porter("check", "toy", cwd=base.project)
        undone = base.porter("undo")
        redone = base.porter("redo")
        for done in (checked, undone, redone):
            assert done.code in (0, 1, 2), (path, done.words)
            assert not done.hung
        if undone.code == redone.code == 0:
            assert base.see_project() == project, path
        found = [done.err + done.out for done in (checked, undone, redone) if done.code]
        count.one("found" if found else "harmless")
        base.back("flips")
        _flip(path, dice)
        audit = base.porter("store", "verify", "--repair", cwd=base.project)
        assert audit.code in (0, 1, 2), (path, audit.words)
        repaired = base.porter("check", "toy", cwd=base.project)
        if audit.code == 0:
            assert repaired.code == 0, (path, audit.words, repaired.words)
        assert base.see_tree().files == tree.files


def _flip(path: Path, dice: random.Random) -> None:
    data = bytearray(path.read_bytes())
    at = dice.randrange(len(data))
    data[at] ^= 1 << dice.randrange(8)
    path.chmod(0o644)
    path.write_bytes(data)
