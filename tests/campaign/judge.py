"""What must hold after a fault, whatever the command: one of two states, and nothing lost."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaign.copies import State, without_objects
from tests.campaign.forked import (
    MEMORY,
    SECONDS,
    Fault,
    Outcome,
    children,
    inherit_others,
    others_end,
)
from tests.campaign.jobs import Job
from tests.campaign.stage import Seen, Stage, differences


class Fell(AssertionError):
    """A fault that porter did not survive as it should."""


@dataclass
class Judged:
    """A job with its two states: before the command, and after it without a fault.

    ``level`` is the one that the tree is at afterwards. ``known`` are the states that a fault left
    and that were judged, each with how often: the same files and contents, with what porter and git
    keep, are judged again in one of ten cases; those that differ in git's objects alone in three.
    """

    stage: Stage
    job: Job
    before: tuple[Seen, Seen]
    after: tuple[Seen, Seen]
    level: str
    seconds: float
    events: int
    known: Counter[State] = field(default_factory=Counter)
    others: list[int] = field(default_factory=list)

    def back(self) -> None:
        self.stage.back(self.job.name)
        self.others = children()
        inherit_others(True)

    def type(self, fault: Fault | None = None, **env: str) -> Outcome:
        job, stage = self.job, self.stage
        where = {"cwd": job.folder(stage), "seconds": job.seconds}
        return stage.porter(*job.typed(stage), fault=fault, env={**job.env, **env}, **where)

    def check_words(self, done: Outcome) -> None:
        """No hang, no internal error, no signal of its own, little memory, one line of error."""
        if done.hung:
            raise Fell(f"hung: {done.words}")
        if done.code in (3, 70) or done.code < 0 or "Traceback" in done.err:
            raise Fell(f"a bug: {done.words}")
        if done.memory > MEMORY:
            raise Fell(f"{done.memory >> 20} MiB: {done.words}")
        lines = [row for row in done.err.splitlines() if row.startswith("porter: ")]
        if done.code in (1, 2) and self.job.code == 0 and not lines and not done.out:
            raise Fell(f"no word on why: {done.words}")

    def recover(self, dice: random.Random) -> bool:
        """Bring the stage to the command's end as a user does, and judge every step.

        Return False for a state that was judged before.
        """
        # A git that outlives porter may change more: that is no state yet.
        state = None
        if others_end(self.others, 0.02, self.stage.warm_server):
            state = self.stage.copies.changes()
            chance, enough = dice.random(), 1 + self.job.session
            plain = without_objects(state)
            if (self.known[state] >= enough and chance > 0.1) or (
                self.known[plain] >= enough and chance > 0.3
            ):
                return False
        try:
            self._recover(dice)
        finally:
            ended = others_end(self.others, SECONDS, self.stage.warm_server)
            inherit_others(False)
        if not ended:
            raise Fell("what it started still runs")
        if state is not None:
            self.known.update({state, without_objects(state)})
        return True

    def _recover(self, dice: random.Random) -> None:
        stage, job = self.stage, self.job
        self._status()
        project = stage.see_project()
        if project not in (self.before[0], self.after[0]) and job.here != "top":
            raise Fell(f"the project is in neither state:\n{differences(self.before[0], project)}")
        if job.session and (stage.tree / ".git" / "porter" / "edit.json").exists():
            self._session(dice)
        self._again(project)
        if job.session:
            self._abort()
        self.clean()

    def _status(self) -> None:
        if not (self.stage.tree / ".git" / "porter" / "tree.json").exists():
            if (self.stage.project / "upstream_pins.yaml").exists():
                self.check_words(self.stage.porter("list", cwd=self.stage.project))
            return
        done = self.stage.porter("status")
        self.check_words(done)
        if done.code != 0 and "apply` was interrupted" not in done.err:
            raise Fell(f"porter status: {done.words}")

    def _session(self, dice: random.Random) -> None:
        """Killed on the way into a conflict: it can be aborted, and never counts as resolved."""
        command = self.job.words[0]
        if dice.random() < 0.5:
            done = self.stage.porter(command, "--continue")
            self.check_words(done)
            if done.code == 0:
                raise Fell(f"--continue went over an unresolved conflict: {done.words}")
        self._abort()

    def _abort(self) -> None:
        done = self.stage.porter(self.job.words[0], "--abort")
        self.check_words(done)
        if done.code != 0:
            raise Fell(f"--abort: {done.words}")
        self.same(self.before, "after --abort")

    def _again(self, project: Seen) -> None:
        """Type the command again, unless it took effect; the end must be the command's own."""
        stage, job = self.stage, self.job
        unlike = self.before != self.after and project == self.after[0]
        done = stage.porter("status") if unlike else None
        whole = done is not None and "was interrupted" not in done.err
        if whole and (stage.see_project(), stage.see_tree()) == self.after:
            return
        took_effect = self.before[0] != self.after[0] and project == self.after[0]
        done = None
        if not (took_effect and job.once):
            done = self.type()
            self.check_words(done)
            if not took_effect and done.code != job.code:
                raise Fell(f"typed again: {done.words}")
        if took_effect and (stage.see_project(), stage.see_tree()) != self.after and self.level:
            went = stage.porter("goto", self.level, "--keep")
            self.check_words(went)
            if went.code != 0:
                said = done.words if done else ""
                raise Fell(f"goto {self.level} --keep: {went.words}\n(typed again: {said})")
        self.same(self.after, f"after it was typed again ({done.words if done else 'not'})")

    def same(self, wanted: tuple[Seen, Seen], when: str) -> None:
        for name, mine, other in zip(
            ("project", "tree"), wanted, (self.stage.see_project(), self.stage.see_tree()),
            strict=True,
        ):  # fmt: skip
            if mine != other and not self._same_but_undone(name, mine, other):
                raise Fell(f"the {name} differs {when}:\n{differences(mine, other)}")

    def _same_but_undone(self, name: str, wanted: Seen, found: Seen) -> bool:
        """Killed between series and tree, `undo` leaves what it took back to `redo` alone."""
        if name != "tree" or self.job.name not in ("undo", "redo"):
            return False
        done = self.stage.porter("redo" if self.job.name == "undo" else "undo")
        return done.code == 0 and "M pkg" not in found.git

    def clean(self) -> None:
        """Nothing stays behind once porter has collected its garbage."""
        if self.stage.leftovers():
            self.stage.porter("gc", "--now", cwd=self.stage.project)
            self.stage.porter("export", "--check")
        if left := self.stage.leftovers():
            raise Fell(f"left behind: {', '.join(left)}")


def prepare(stage: Stage, job: Job, base: str) -> Judged:
    """Bring the stage before the command, keep that, run it without a fault, and go back.

    A stage does this once for each job.
    """
    if (known := _PREPARED.get((stage.top, job.name))) is not None:
        known.back()
        return known
    stage.back(base)
    job.prepare(stage)
    stage.keep(job.name)
    stage.back(job.name)
    before = (stage.see_project(), stage.see_tree())
    judged = Judged(stage, job, before, before, "", 0.0, 0)
    done = judged.type()
    assert done.code == job.code, done.words
    judged.after, judged.seconds = (stage.see_project(), stage.see_tree()), done.seconds
    judged.level = _level(stage)
    judged.back()
    judged.events = judged.type(Fault("count")).events
    assert (stage.see_project(), stage.see_tree()) == judged.after, differences(
        judged.after[1], stage.see_tree()
    )
    judged.back()
    _PREPARED[stage.top, job.name] = judged
    return judged


_PREPARED: dict[tuple[Path, str], Judged] = {}


def _level(stage: Stage) -> str:
    from porter.tree.tree import open_tree, position

    tree = open_tree(stage.tree)
    if tree is None or (stage.tree / ".git" / "porter" / "edit.json").exists():
        return ""
    at = position(tree).level
    return at.name if at else ""
