"""Judge the outcomes of a recipe's runs, claim by claim. Runs nothing."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from porter.verify.harness.trace import Trace
from porter.verify.judge.counters import (
    judge_counter,
    judge_independence,
    matching,
    not_counted_on,
    nothing_matches,
)
from porter.verify.judge.outputs import OutputJudge, RunView, judge_reference
from porter.verify.judge.result import Verdict, Word, cause_text
from porter.verify.judge.throughput import judge_ratio, not_judged_on
from porter.verify.plan.matrix import (
    Failure,
    RecipePlan,
    RunSpec,
    baseline_spec,
    claims_on,
    judged_specs,
    noise_spec,
    reference_spec,
    target_spec,
)
from porter.verify.recipe.claims import NEED_ALLOWANCE, Claim
from porter.verify.recipe.schema import UPSTREAM, is_accelerator, is_simulated

Outcomes = Mapping[RunSpec, Trace | Failure]
_NOT_RUN = Failure("missing", "was not run", "")


def judge_outcomes(planned: RecipePlan, outcomes: Outcomes) -> list[Verdict]:
    """See :func:`porter.verify.judge.judge`."""
    runs = _Runs(planned, outcomes)
    verdicts: list[Verdict] = []
    judged = judged_specs(planned)
    for _, group in groupby(judged, key=lambda spec: (spec.seed, spec.variant)):
        verdicts += _judge_variant(runs, list(group))
    verdicts += _judge_independence(runs, judged)
    return [
        dataclasses.replace(verdict, narrow=next_command(planned, verdict)) for verdict in verdicts
    ]


class _Runs:
    """The outcomes of a recipe's runs, as run views or verdicts of failed runs."""

    def __init__(self, planned: RecipePlan, outcomes: Outcomes) -> None:
        self.planned = planned
        self._outcomes = outcomes

    def get(self, spec: RunSpec) -> RunView | Verdict:
        """Return a run, or the verdict that it failed."""
        outcome = self._outcomes.get(spec, _NOT_RUN)
        name = self.planned.levels[spec.level].name
        if isinstance(outcome, Trace):
            parts = outcome.outputs, outcome.counters, outcome.kinds, outcome.failures
            return RunView(spec, name, *parts)
        absent = outcome.kind == "device" and spec.device not in self.planned.insisted
        word: Word = "skipped" if absent and not is_simulated(spec.device) else "error"
        failed = RunView(spec, name, {}, {}).verdict("", None, word, cause_text(outcome.reason))
        if word != "error":
            return failed
        return dataclasses.replace(failed, stderr=outcome.stderr, frames=outcome.frames)

    def was_made(self, spec: RunSpec) -> bool:
        """Whether a run was made, even if it failed."""
        outcome = self._outcomes.get(spec, _NOT_RUN)
        return isinstance(outcome, Trace) or outcome.kind != _NOT_RUN.kind


def _judge_variant(runs: _Runs, judged: Sequence[RunSpec]) -> Iterator[Verdict]:
    """Judge every run of one seed and variant."""
    planned = runs.planned
    claims = {spec: claims_on(planned, spec) for spec in judged}
    reference: RunView | Verdict | None = None
    if any(claim.needs_reference for several in claims.values() for claim in several):
        reference = runs.get(reference_spec(planned, judged[0]))
    if isinstance(reference, Verdict):
        where = "level 0" if reference.device == "cpu" else f"level 0, {reference.device}"
        reason = f"reference run ({where}, {reference.dtype}): {reference.detail}"
        yield dataclasses.replace(reference, detail=reason)
        claims = {
            spec: [claim for claim in several if not claim.needs_reference]
            for spec, several in claims.items()
        }
    elif reference is not None:
        asked = [
            claim
            for claim in planned.loaded.recipe.claims
            if claim.needs_reference and any(claim in several for several in claims.values())
        ]
        yield from judge_reference(reference, asked, planned)
    reported: set[RunSpec] = set()
    for spec, several in claims.items():
        if not several and isinstance(reference, Verdict):
            continue
        known = reference if isinstance(reference, RunView) else None
        yield from _judge_point(runs, spec, several, known, reported)


def _judge_point(
    runs: _Runs,
    spec: RunSpec,
    claims: list[Claim],
    reference: RunView | None,
    reported: set[RunSpec],
) -> Iterator[Verdict]:
    """Judge one run. ``reported`` holds the runs whose failure was yielded already."""
    planned = runs.planned
    own = baseline_spec(planned, spec)
    baseline: RunView | None = None
    if reference is not None:
        found = runs.get(own)
        if isinstance(found, RunView):
            baseline = found
        elif own not in reported and any(c.kind_name in (*NEED_ALLOWANCE, "equal") for c in claims):
            reported.add(own)
            yield found
    run = runs.get(spec)
    if isinstance(run, Verdict):
        if spec not in reported:
            reported.add(spec)
            yield run
        return
    targets = {
        planned.index(claim): runs.get(target_spec(planned, claim, spec))
        for claim in claims
        if claim.against or claim.less_than or claim.ratio
    }
    noises, failed = _noises(runs, spec, claims)
    for shaken, verdict in failed.items():
        if shaken not in reported:
            reported.add(shaken)
            yield verdict
    yield from run.failed_attempts()
    yield from OutputJudge(run, planned, reference, baseline, targets, noises).verdicts(claims)
    for claim in claims:
        target = targets.get(planned.index(claim))
        if claim.subject == "counters" and claim.independent_of is None:
            yield from _judge_counters(run, claim, target)
        elif claim.subject == "throughput":
            yield from _judge_throughput(run, claim, target)


def _noises(
    runs: _Runs, spec: RunSpec, claims: Sequence[Claim]
) -> tuple[dict[int, tuple[RunView, RunView]], dict[RunSpec, Verdict]]:
    """Return, by the claim's index, a run and its shaken twin; and the shaken runs that failed.

    A shaken run that was not made is ignored: older records have none.
    """
    noises: dict[int, tuple[RunView, RunView]] = {}
    failed: dict[RunSpec, Verdict] = {}
    for claim in claims:
        at = noise_spec(runs.planned, claim, spec, claims)
        if at is None:
            continue
        twin = dataclasses.replace(at, shaken=True)
        settled, shaken = runs.get(at), runs.get(twin)
        if isinstance(shaken, RunView) and isinstance(settled, RunView):
            noises[runs.planned.index(claim)] = settled, shaken
        elif isinstance(shaken, Verdict) and runs.was_made(twin):
            failed[twin] = dataclasses.replace(shaken, detail=f"shaken run: {shaken.detail}")
    return noises, failed


def _judge_counters(
    run: RunView, claim: Claim, target: RunView | Verdict | None
) -> Iterator[Verdict]:
    names = [name for name in matching(claim, run.counters) if not run.failure_of(name)]
    if not names and not run.failure_of(claim.pattern):
        yield _nothing_counted(run, run.counters, claim)
    other = target.counters if isinstance(target, RunView) else None
    for name in names:
        outcome = judge_counter(claim, name, run.counters, other)
        yield run.judged(name, claim, outcome)


def _nothing_counted(run: RunView, counters: Mapping[str, float], claim: Claim) -> Verdict:
    """Return the verdict of a claim that matches no counter: a card counts nothing by itself."""
    device = run.spec.device
    if is_accelerator(device):
        return run.verdict(claim.pattern, claim, "skipped", not_counted_on(device))
    return run.verdict(claim.pattern, claim, "error", nothing_matches(claim, counters, device))


def _judge_throughput(
    run: RunView, claim: Claim, target: RunView | Verdict | None
) -> Iterator[Verdict]:
    assert claim.ratio is not None
    other = target.outputs if isinstance(target, RunView) else {}
    names = [name for name in run.outputs if claim.names(name)]
    for name in names or [claim.pattern]:
        if reason := not_judged_on(run.spec.device):
            yield run.verdict(name, claim, "skipped", reason)
        elif not names or name not in other:
            reason = "expected rates of this name in both runs, found none"
            yield run.verdict(name, claim, "error", reason)
        else:
            outcome = judge_ratio(claim.ratio, run.outputs[name], other[name])
            yield run.judged(name, claim, outcome)


def _judge_independence(runs: _Runs, judged: Sequence[RunSpec]) -> Iterator[Verdict]:
    """Judge the claims across variants: one verdict for all values of what is varied."""
    for claim in runs.planned.loaded.recipe.claims:
        if claim.independent_of is None:
            continue
        varied = claim.independent_of
        groups: dict[RunSpec, list[RunSpec]] = {}
        for spec in judged:
            if claim in claims_on(runs.planned, spec):
                rest = tuple(pair for pair in spec.variant if pair[0] != varied)
                groups.setdefault(dataclasses.replace(spec, variant=rest), []).append(spec)
        for rest_point, several in groups.items():
            yield from _judge_group(runs, claim, varied, rest_point, several)


def _judge_group(
    runs: _Runs, claim: Claim, varied: str, rest: RunSpec, several: Sequence[RunSpec]
) -> Iterator[Verdict]:
    ran = [(dict(spec.variant)[varied], runs.get(spec)) for spec in several]
    there = [(text, run) for text, run in ran if isinstance(run, RunView)]
    if not there:
        return  # each failure is reported with its run
    head = RunView(rest, there[0][1].level_name, {}, {})
    if len(there) < len(ran) or len(there) < 2:
        reason = f"{len(there)} of {len(ran)} runs came to an end: nothing to compare"
        yield head.verdict(claim.pattern, claim, "error", reason)
        return
    names = sorted({name for _, run in there for name in matching(claim, run.counters)})
    if not names:
        yield _nothing_counted(head, there[0][1].counters, claim)
    for name in names:
        lacking = [text for text, run in there if name not in run.counters]
        if lacking:
            reason = f"not counted where {varied} is {', '.join(lacking)}"
            yield head.verdict(name, claim, "error", reason)
            continue
        values = [(text, run.counters[name]) for text, run in there]
        outcome = judge_independence(name, values, varied)
        yield head.judged(name, claim, outcome)


def next_command(planned: RecipePlan, verdict: Verdict) -> str:
    """Return the command that narrows a bad verdict down; "" where there is none.

    For a failed output of a level above 0: `porter compare` with upstream, module by module; for a
    failed counter or run: `porter bisect`, where the claim covers a level below. A vacuous claim,
    and level 0, have nothing to compare with.
    """
    if not verdict.bad or verdict.level == 0:
        return ""
    port, recipe = planned.loaded.port, planned.loaded.name
    where = f"--recipe {recipe} --device {verdict.device}"
    if verdict.word == "fail" and verdict.subject == "outputs":
        exactly = f"--dtype {verdict.dtype}"
        if verdict.seed:
            exactly += f" --seed {verdict.seed}"
        exactly += "".join(
            f" --where {shlex.quote(f'{name}={text}')}" for name, text in verdict.variant
        )
        return f"porter compare {port} {UPSTREAM} {verdict.level_name} {where} {exactly}"
    breaks = verdict.word == "fail" or not verdict.output or verdict.frames
    if breaks and _has_level_below(planned, verdict):
        return f"porter bisect {port} {where} --level {verdict.level_name}"
    return ""


def _has_level_below(planned: RecipePlan, verdict: Verdict) -> bool:
    """Whether the claim behind a verdict (of a failed run: any claim) covers a lower level."""
    claims = zip(planned.loaded.recipe.claims, planned.claim_levels, strict=True)
    return any(
        any(level < verdict.level for level in levels)
        for claim, levels in claims
        if not verdict.claim
        or (
            (claim.subject, claim.kind_name) == (verdict.subject, verdict.claim)
            and (claim.names(verdict.output) or claim.pattern == verdict.output)
        )
    )
