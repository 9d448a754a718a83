"""Bits that turned over in every kind of cached file: found, or of no consequence."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.campaign.conftest import SEED, Count
from tests.campaign.jobs import RUN_SECONDS
from tests.campaign.stage import Stage

KINDS = {
    "packs": "store/*.git/objects/pack/*.pack",
    "indexes of packs": "store/*.git/objects/pack/*.idx",
    "loose objects": "store/*.git/objects/??/*",
    "memos of levels": "levels/**/*",
    "history": "history.git/objects/*/*",
    "refs": "history.git/refs/**/*",
    "registry": "store/*/*.path",
}
RUN_KINDS = {
    "trees": "trees/**/*",
    "traces": "traces/*/*/*/*",
    "verdicts": "verdicts/**/*.json",
    "environments": "environments/*/current.json",
    "records": "traces/*/*/judged.json",
    "probe names": "probe-names/*",
}
"""What only a verification makes."""
CHECKSUMMED = ("trees", "traces", "verdicts", "environments")
"""Of these `porter store verify` finds every bit that turned over."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_found_or_harmless(base: Stage, kind: str, count: Count) -> None:
    dice = random.Random(f"{SEED} {kind} flips")
    base.back("base")
    (base.tree / "pkg" / "b.py").open("a").write("# mine\n")
    base.must("refresh")
    base.must("check", cwd=base.project)
    base.keep("flips")
    project, tree = base.see_project(), base.see_tree()
    files = _files(base, KINDS[kind])
    if not files:
        pytest.skip(f"the stage's cache has no {kind}")
    while count.goes_on(count.rows.total()):
        base.back("flips")
        path = dice.choice(files)
        flip = _flip(path, dice)
        checked = base.porter("check", "toy", cwd=base.project)
        undone = base.porter("undo")
        redone = base.porter("redo")
        for done in (checked, undone, redone):
            assert done.code in (0, 1, 2), (path, flip, done.words)
            assert not done.hung
        if undone.code == redone.code == 0:
            assert base.see_project() == project, (path, flip)
        found = [done.err + done.out for done in (checked, undone, redone) if done.code]
        count.one("found" if found else "harmless")
        base.back("flips")
        flip = _flip(path, dice)
        audit = base.porter("store", "verify", "--repair", cwd=base.project)
        assert audit.code in (0, 1, 2), (path, flip, audit.words)
        repaired = base.porter("check", "toy", cwd=base.project)
        if audit.code == 0:
            assert repaired.code == 0, (path, flip, audit.words, repaired.words)
        assert base.see_tree().files == tree.files


@pytest.mark.parametrize("kind", RUN_KINDS)
def test_a_flipped_bit_of_a_run_is_found_or_harmless(
    base: Stage, runs: str, kind: str, count: Count
) -> None:
    dice = random.Random(f"{SEED} {kind} flips")
    base.back(runs)
    files = _files(base, RUN_KINDS[kind])
    assert files
    while count.goes_on(count.rows.total()):
        path = dice.choice(files)
        base.back(runs)
        whole = path.read_bytes()
        flip = _flip(path, dice)
        _used(base, kind, path, whole, flip)
        base.back(runs)
        flip = _flip(path, dice)
        audit = base.porter("store", "verify", cwd=base.project)
        assert audit.code in (0, 1), (path, flip, audit.words)
        if kind in CHECKSUMMED:
            assert audit.code == 1, (path, flip, audit.words)
        count.one("found" if audit.code else "harmless")
        repair = base.porter("store", "verify", "--repair", cwd=base.project)
        assert repair.code in (0, 1), (path, flip, repair.words)
        again = base.porter("store", "verify", cwd=base.project)
        assert again.code == 0, (path, flip, again.words)
        base.must("verify", "toy", "--recipe", "tiny", cwd=base.project, seconds=RUN_SECONDS)


def _used(stage: Stage, kind: str, path: Path, whole: bytes, flip: str) -> None:
    """Let porter use the damaged file: its results are true, or it says what is damaged."""
    words = ["verify", "toy", "--recipe", "tiny"]
    done = stage.porter(
        *words, *(["--fresh"] if kind == "trees" else []), cwd=stage.project, seconds=RUN_SECONDS
    )
    assert done.code == 0, (path, flip, done.words)
    if kind == "trees":  # it was mended before the run
        assert path.read_bytes() == whole, (path, flip)
    if kind in ("traces", "records"):
        done = stage.porter("judge", "toy", cwd=stage.project, seconds=RUN_SECONDS)
        assert done.code in (0, 1, 2), (path, flip, done.words)


def _files(stage: Stage, pattern: str) -> list[Path]:
    files = [path for path in sorted((stage.top / "cache").glob(pattern)) if path.is_file()]
    return [path for path in files if path.stat().st_size and path.suffix != ".lock"]


def _flip(path: Path, dice: random.Random) -> str:
    """Turn a bit over and return which."""
    data = bytearray(path.read_bytes())
    at, bit = dice.randrange(len(data)), dice.randrange(8)
    data[at] ^= 1 << bit
    path.chmod(0o644)
    path.write_bytes(data)
    return f"byte {at}, bit {bit}"
