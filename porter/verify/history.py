"""Find the first commit of a foreign tree's history at which a recipe's claim fails.

git itself chooses the commits to try (``git rev-list --bisect-all``), so histories with merges are
searched as by ``git bisect``. A commit at which what failed cannot be judged, because the run ends
before it, is skipped: then the first bad commit may be one of several.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from porter.errors import BadInput, CheckFailed
from porter.git.run import first_error, run_git
from porter.verify.bisect import Followed, followed
from porter.verify.execution.scheduler import Runs
from porter.verify.foreign.files import ForeignFiles, open_files, split_tree
from porter.verify.foreign.plan import plan_foreign, told
from porter.verify.foreign.trees import ForeignTrees
from porter.verify.judge import judge
from porter.verify.judge.result import RecipeResult, Verdict
from porter.verify.plan.matrix import run_specs
from porter.verify.plan.port_trees import UpstreamTrees
from porter.verify.plan.select import Filters

State = Literal["good", "bad", "skipped"]
_SHORT = 10
_CANDIDATE = re.compile(r"^([0-9a-f]{40})", re.MULTILINE)


@dataclass(frozen=True)
class Commit:
    """A commit of the history, and the first line of its message."""

    oid: str
    subject: str

    @property
    def short(self) -> str:
        return self.oid[:_SHORT]


@dataclass(frozen=True)
class Tried:
    """A commit that was judged: the bad verdicts followed, or why it had to be skipped."""

    commit: Commit
    state: State
    verdicts: tuple[Verdict, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class FirstBad:
    """``bad`` is the earliest commit known to fail. Without ``between`` it is the first one;
    otherwise that may also be one of these, which were skipped."""

    bad: Tried
    between: tuple[Tried, ...]


@dataclass(frozen=True)
class History:
    """The commits of ``folder``'s repository that lead from ``good`` to ``bad``."""

    folder: Path
    good: Commit
    bad: Commit

    def files(self, commit: Commit) -> ForeignFiles:
        """Return the tree of a commit: the files of the folder at it. Raises BadInput."""
        found = open_files(f"{self.folder}@{commit.oid}", Path())
        name = f"{self.folder.resolve().name}@{commit.short}"
        return replace(found, name=name, source=f"{self.folder}@{commit.short}")

    def commit(self, oid: str) -> Commit:
        return Commit(oid, run_git(["log", "-1", "--format=%s", oid], cwd=self.folder).text)

    def candidates(self, bad: Commit, good: Iterable[Commit]) -> list[str]:
        """Return the commits that may be the first bad one, those that halve the rest first."""
        asked = ["rev-list", "--bisect-all", bad.oid, "--not", *(each.oid for each in good)]
        return _CANDIDATE.findall(run_git(asked, cwd=self.folder).text)


def open_history(good: str, bad: str, here: Path) -> History:
    """Return the history between two revisions, each DIR@REV, or REV in DIR or around ``here``.

    Raises BadInput for anything that is no such revision, and unless ``good`` leads to ``bad``.
    """
    between = f"--between {good} {bad}"
    parts = [split_tree(text) for text in (good, bad)]
    folders = list(dict.fromkeys(folder for folder, _ in parts if folder is not None)) or [here]
    if len({folder.resolve() for folder in folders}) > 1:
        raise BadInput(f"{between}: expected revisions of one folder, found {_and(folders)}")
    folder, commits = folders[0], []
    for text, (_, revision) in zip((good, bad), parts, strict=True):
        if revision is None:
            raise BadInput(f"{between}: expected a revision, found the folder {text}")
        asked = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
        found = run_git(asked, cwd=folder, check=False)
        if found.status != 0:
            is_told = bool(found.err.strip())
            why = first_error(found.err) if is_told else f"no commit of this name in {folder}"
            raise BadInput(f"{between}: expected two revisions, found {revision}: {why}")
        commits.append(found.text)
    history = History(folder, Commit(commits[0], ""), Commit(commits[1], ""))
    leads = run_git(["merge-base", "--is-ancestor", *commits], cwd=folder, check=False)
    if leads.status != 0 or commits[0] == commits[1]:
        raise BadInput(f"{between}: expected the first to be an ancestor of the second, found none")
    return replace(history, good=history.commit(commits[0]), bad=history.commit(commits[1]))


def _and(folders: Sequence[Path]) -> str:
    return " and ".join(map(str, folders))


@dataclass
class HistoryJudge:
    """Judges commits of a history by one recipe; ``judged_as`` as in :func:`plan_foreign`."""

    root: Path
    own: UpstreamTrees
    port: str
    history: History
    filters: Filters
    judged_as: str | None
    runs: Runs

    def verdicts(self, commit: Commit) -> list[Verdict]:
        """Return the verdicts on a commit, making the runs that are missing.

        Raises BadInput and CheckFailed where it has no tree to run.
        """
        trees = ForeignTrees(self.own, self.port, self.history.files(commit))
        plan = plan_foreign(self.root, trees, self.filters, self.judged_as).plan
        if plan.unreachable:
            raise CheckFailed(f"not reachable: {plan.unreachable[0].reason}")
        if len(plan.recipes) > 1:
            names = ", ".join(one.loaded.name for one in plan.recipes)
            raise BadInput(f"--recipe: expected one recipe, found {names}")
        planned = plan.recipes[0]
        self.runs.session.trees = trees
        found = judge(planned, self.runs.outcomes(planned, run_specs(planned)))
        loaded = planned.loaded
        result = RecipeResult(loaded.port, loaded.name, "", tuple(found), 0, 0.0)
        (said,) = told(iter([result]), trees)
        return [v for v in said.verdicts if v.level == trees.level.number]

    def tried(self, commit: Commit, follow: Mapping[Followed, Verdict]) -> Tried:
        """Judge a commit by what is followed alone."""
        try:
            verdicts = self.verdicts(commit)
        except (BadInput, CheckFailed) as error:
            return Tried(commit, "skipped", why=str(error))
        return state_of(commit, verdicts, follow)


def state_of(
    commit: Commit, verdicts: Sequence[Verdict], follow: Mapping[Followed, Verdict]
) -> Tried:
    """Return what the verdicts on a commit say of the claims that failed later.

    It is bad where one of them fails; good where all were judged and none fails; else skipped. A
    failed run, or part of a run, is followed as such: it is good where that part ran.
    """
    there = {followed(verdict): verdict for verdict in verdicts}
    bad = tuple(v for key, v in there.items() if v.bad and key in follow)
    if bad:
        return Tried(commit, "bad", bad)
    ended = [v for v in verdicts if v.bad and not v.claim]  # runs, and parts of runs
    for key, verdict in follow.items():
        if key in there:
            continue
        struck = [v for v in ended if _same_run(v, verdict) and _is_part(verdict, v)]
        if struck and not verdict.claim:
            return Tried(commit, "bad", tuple(struck))
        if struck:
            return Tried(commit, "skipped", why=struck[0].detail)
        if verdict.claim:
            return Tried(commit, "skipped", why=f"{verdict.output} was not judged")
    return Tried(commit, "good")


def _same_run(one: Verdict, other: Verdict) -> bool:
    return (one.device, one.dtype, one.seed, one.variant) == (
        other.device, other.dtype, other.seed, other.variant,
    )  # fmt: skip


def _is_part(verdict: Verdict, ended: Verdict) -> bool:
    """Whether a failed run, or a failed part of one, is what ``verdict`` belongs to."""
    return not ended.output or f"{verdict.output}/".startswith(f"{ended.output}/")


def find_first_bad(
    history: History,
    bad: Tried,
    tried: Callable[[Commit], Tried],
    on_commit: Callable[[Tried], None],
) -> FirstBad:
    """Search the commits from ``history.good``, which is known to be good, to ``bad``."""
    good, skipped = [history.good], dict[str, Tried]()
    while True:
        candidates = history.candidates(bad.commit, good)
        rest = [oid for oid in candidates if oid != bad.commit.oid and oid not in skipped]
        if not rest:
            between = [skipped[oid] for oid in candidates if oid in skipped]
            return FirstBad(bad, tuple(between))
        now = tried(history.commit(rest[0]))
        on_commit(now)
        if now.state == "good":
            good.append(now.commit)
        elif now.state == "bad":
            bad = now
        else:
            skipped[now.commit.oid] = now
