"""A user's git configuration with a line that git rejects: named as that, and nothing changes."""

from __future__ import annotations

import random

import pytest

from tests.campaign.conftest import SEED, Count
from tests.campaign.jobs import JOBS, Job
from tests.campaign.judge import prepare
from tests.campaign.stage import Stage

LINES = (
    "[core\n",
    "[user]\n= x\n",
    "[core]\n\tcompression = 99\n",
    "[core]\n\tbigFileThreshold = many\n",
    "[core]\n\tfileMode = perhaps\n",
)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_rejected_line_is_named_as_that(base: Stage, job: Job, count: Count) -> None:
    dice = random.Random(f"{SEED} {job.name} configuration")
    judged = prepare(base, job, "base")
    config = base.top / "home" / "gitconfig"
    whole = config.read_text()
    for line in LINES:
        judged.back()
        config.write_text(whole + line)
        done = judged.type()
        config.write_text(whole)
        count.one("refused" if done.code else "went through")
        judged.check_words(done)
        if done.code not in (0, job.code):
            assert "configuration" in done.err or "gitconfig" in done.err, (line, done.words)
            assert "damaged" not in done.err, (line, done.words)
        judged.recover(dice)
        if not count.goes_on(count.rows.total()):
            break
