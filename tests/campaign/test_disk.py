"""A disk without room, and folders that cannot be written: one of two states, and one line."""

from __future__ import annotations

import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.campaign.conftest import SEED, Count
from tests.campaign.forked import Fault, Outcome
from tests.campaign.jobs import JOBS, Job
from tests.campaign.judge import Fell, Judged, prepare
from tests.campaign.stage import Stage

REASONS = ("ermission denied", "ead-only", "cannot be", "unable to")
SMALLEST = 600  # room for the error that the command writes
LARGEST = 1 << 16
"""No file that the small project's commands write is larger, packs included."""


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_full_disk_leaves_one_of_two_states(base: Stage, job: Job, count: Count) -> None:
    dice = random.Random(f"{SEED} {job.name} disk")
    judged = prepare(base, job, "base")
    fell: list[str] = []
    while count.goes_on(count.rows.total()) and len(fell) <= 5:
        judged.back()
        if dice.random() < 0.5:
            fault = Fault("full", dice.randint(1, max(judged.events, 1)))
        else:
            fault = Fault("small", int(SMALLEST * (LARGEST / SMALLEST) ** dice.random()))
        done = judged.type(fault)
        count.one("refused" if done.code else "went through")
        try:
            _one_line(judged, done)
            judged.recover(dice)
        except Fell as error:
            fell.append(f"{job.name}, {fault}: {error}\n(it had said {done.words})")
            count.one("fell")
    assert not fell, "\n\n".join(fell)


def _one_line(judged: Judged, done: Outcome) -> None:
    judged.check_words(done)
    said = [row for row in done.err.splitlines() if row and not row.startswith("porter: warning")]
    if done.code and judged.job.code == 0 and len(said) > 3:
        raise Fell(f"more than a line or two: {done.words}")


@pytest.mark.parametrize("part", ["project", "cache", "work"])
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_what_cannot_be_written_stays_as_it_was(
    base: Stage, job: Job, part: str, count: Count
) -> None:
    judged = prepare(base, job, "base")
    folder = base.top / part
    if not folder.exists():
        pytest.skip(f"{job.name} begins without {part}")
    with _read_only(folder):
        done = judged.type(Fault("obey"))
    count.one("refused" if done.code else "went through")
    _one_line(judged, done)
    if done.code not in (0, job.code):
        assert any(words in done.err for words in REASONS), done.words
    judged.recover(random.Random(SEED))


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """Let nobody write into a folder and what is in it."""
    modes = {path: path.lstat().st_mode for path in (folder, *folder.rglob("*"))}
    modes = {path: mode for path, mode in modes.items() if not stat.S_ISLNK(mode)}
    for path, mode in modes.items():
        path.chmod(stat.S_IMODE(mode) & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            if path.exists():
                path.chmod(stat.S_IMODE(mode))
