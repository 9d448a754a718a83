"""kill -9 of every command, at every kind of moment: the next command works, nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.conftest import SEED, WAYS, Count
from tests.campaign.forked import Fault, Outcome, write_strace_git
from tests.campaign.jobs import JOBS, Job
from tests.campaign.judge import Fell, Judged, prepare
from tests.campaign.stage import Stage


@pytest.fixture(scope="session")
def strace_git(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    folder = tmp_path_factory.mktemp("strace")
    return folder if write_strace_git(folder) else None


def kills(judged: Judged, dice: random.Random, git: Path | None) -> Iterator[tuple[str, Outcome]]:
    """Kill the command again and again; yield how, and its end, with the stage as it then is."""
    starts, number = 0, 0
    order = list(range(1, judged.events + 1))
    dice.shuffle(order)
    while True:
        number += 1
        way = WAYS[number % len(WAYS)]
        kind = ("kill", "kill all")[number // len(WAYS) % 2]
        judged.back()
        if way == "event" and order:
            at = order.pop()
            yield f"{kind} at event {at}", judged.type(Fault(kind, at))
        elif way == "call" and git is not None and starts >= 0:
            starts = starts or _git_starts(judged, git) or -1
            start, call = dice.randint(1, max(starts, 1)), dice.randint(1, dice.choice((8, 40)))
            env = _git_environment(judged, git, start, call, "dies")
            yield f"kill git {start} at call {call}", judged.type(Fault(), **env)
        else:
            after = dice.uniform(0.001, judged.seconds)
            yield f"{kind} after {after:.4f} s", judged.type(Fault(kind, after=after))


def _git_environment(
    judged: Judged, git: Path, start: int, call: int, porter: str
) -> dict[str, str]:
    counter = judged.stage.kept / "git-starts"
    counter.unlink(missing_ok=True)
    return {
        "PATH": f"{git}:{judged.stage.env['PATH']}",
        "CAMPAIGN_COUNT": str(counter),
        "CAMPAIGN_GIT": str(start),
        "CAMPAIGN_CALL": str(call),
        "CAMPAIGN_PORTER": porter,
    }


def _git_starts(judged: Judged, git: Path) -> int:
    env = _git_environment(judged, git, 0, 0, "lives")
    judged.type(Fault(), **env)
    judged.back()
    counter = judged.stage.kept / "git-starts"
    return int(counter.read_text()) if counter.exists() else 0


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_kill_leaves_one_of_two_states(
    base: Stage, job: Job, count: Count, strace_git: Path | None
) -> None:
    dice = random.Random(f"{SEED} {job.name}")
    judged = prepare(base, job, "base")
    fell: list[str] = []
    for how, done in kills(judged, dice, strace_git):
        if done.hung or done.code in (3, 70):
            fell.append(f"{job.name}, {how}: {done.words}")
        count.one("killed" if done.code == -9 else "ended first")
        try:
            if not judged.recover(dice):
                count.one("in a state judged before")
        except Fell as error:
            fell.append(f"{job.name}, {how}: {error}")
            count.one("fell")
        if not count.goes_on(count.rows["killed"]) or len(fell) > 5:
            break
    assert not fell, "\n\n".join(fell)
