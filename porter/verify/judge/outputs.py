"""Verdicts on what a run recorded: every output held to every claim that speaks of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from porter.verify.judge.compare import judge
from porter.verify.judge.noise import noise_between
from porter.verify.judge.result import Verdict
from porter.verify.judge.run_view import RunView
from porter.verify.judge.tensors import dead_output, describe, mismatch
from porter.verify.plan.matrix import RecipePlan, claims_on, held_to
from porter.verify.recipe.claims import Claim


@dataclass(frozen=True)
class JudgeContext:
    """What a run is held to: reference and baseline (None: not needed, or did not run), and the
    run that each claim with ``against`` names (by the claim's place), or the verdict that it
    failed. ``noises`` are, by the claim's place, the run that tells its outputs' noise and its
    shaken twin."""

    planned: RecipePlan
    reference: RunView | None
    baseline: RunView | None
    targets: Mapping[int, RunView | Verdict]
    noises: Mapping[int, tuple[RunView, RunView]]


def judge_reference(
    reference: RunView, claims: Sequence[Claim], planned: RecipePlan
) -> Iterator[Verdict]:
    """Return what is wrong with the reference run, or with the claims in its light."""
    rates = _rates(planned)
    for name, tensor in reference.outputs.items():
        if not any(claim.names(name) for claim in rates) and (why := dead_output(tensor)):
            yield reference.verdict(name, "", "error", f"the output {why}")
    for claim in claims:
        if not any(claim.names(name) for name in reference.outputs):
            recorded = ", ".join(sorted(reference.outputs)) or "nothing"
            detail = f"the claim matches no output; recorded: {recorded}"
            yield reference.verdict(claim.pattern, claim.kind_name, "error", detail)


def judge_outputs(run: RunView, held: JudgeContext, claims: Sequence[Claim]) -> Iterator[Verdict]:
    """Hold every output of a run to the claims on outputs among ``claims``."""
    on_outputs = [claim for claim in claims if claim.subject == "outputs"]
    rates, without = _rates(held.planned), _without_reference(run, held)
    others = [other.outputs for other in held.targets.values() if isinstance(other, RunView)]
    known = held.reference.outputs if held.reference else {}
    for name in _names(known, run.outputs, *others):
        mine = [claim for claim in on_outputs if claim.names(name)]
        if not mine and any(claim.names(name) for claim in (*rates, *without)):
            continue
        yield from _judge_output(run, name, held, mine)
    for claim in on_outputs:
        if not claim.needs_reference and not any(
            claim.names(name) for name in _names(run.outputs, *others)
        ):
            recorded = ", ".join(sorted(run.outputs)) or "nothing"
            detail = f"the claim matches no output; recorded: {recorded}"
            yield run.verdict(claim.pattern, claim.kind_name, "error", detail)


def _rates(planned: RecipePlan) -> list[Claim]:
    """The claims on throughputs: what they name is a time and compared with nothing else."""
    return [claim for claim in planned.loaded.recipe.claims if claim.subject == "throughput"]


def _without_reference(run: RunView, held: JudgeContext) -> list[Claim]:
    """The claims on a run's outputs that nothing can be said of, for want of the reference run."""
    if held.reference is not None:
        return []
    claims = claims_on(held.planned, run.point)
    return [claim for claim in claims if claim.subject == "outputs" and claim.needs_reference]


def _names(*outputs: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for names in outputs for name in names))


def _judge_output(
    run: RunView, name: str, held: JudgeContext, claims: Sequence[Claim]
) -> Iterator[Verdict]:
    reference, baseline = held.reference, held.baseline
    needed = not claims or any(claim.needs_reference for claim in claims)
    if name not in run.outputs:
        if verdict := _missing(run, name, held, claims):
            yield verdict
        return
    if reference is not None and needed and name not in reference.outputs:
        point = reference.point
        where = f"level 0, {point.dtype}" if point.device == "cpu" else f"level 0, {point.device}"
        told = f"the reference run ({where}) does not record it: nothing to compare with"
        yield run.verdict(name, "", "error", told)
        return
    if not claims:
        told = "nobody claims this output at this level and dtype"
        yield run.verdict(name, "", "error", told)
        return
    found = run.outputs[name]
    exact = reference.outputs.get(name) if reference else None
    if exact is not None and dead_output(exact):
        return  # told once, with the reference
    if exact is None and (why := dead_output(found)):
        yield run.verdict(name, claims[0].kind_name, "error", f"the output {why}")
        return
    if exact is not None and (told := mismatch(found, exact)):
        yield run.verdict(name, claims[0].kind_name, "fail", told)
        return
    own = baseline.outputs.get(name) if baseline else None
    if own is not None and found.dtype != own.dtype:
        told = f"expected {describe(own)} as at level 0, found {describe(found)}"
        yield run.verdict(name, claims[0].kind_name, "fail", told)
        return
    for claim in claims:
        yield _judge_claim(run, name, held, claim, found, exact, own)


def _missing(
    run: RunView, name: str, held: JudgeContext, claims: Sequence[Claim]
) -> Verdict | None:
    """The verdict on an output that another run records and this one does not."""
    if not claims:
        return None
    if held.reference is not None and name in held.reference.outputs:
        asked = any(claim.dtypes is not None for claim in claims)
        if not (asked or held.baseline is None or name in held.baseline.outputs):
            return None  # the probe records it in other dtypes only; nobody asked for this one
        told = "missing: the reference run records it, this run does not"
        return run.verdict(name, claims[0].kind_name, "fail", told)
    for claim in claims:
        target = held.targets.get(held.planned.index(claim))
        if isinstance(target, RunView) and name in target.outputs:
            told = f"missing: {_place(target)} records it, this run does not"
            return run.verdict(name, claim.kind_name, "fail", told)
    return None


def _judge_claim(
    run: RunView,
    name: str,
    held: JudgeContext,
    claim: Claim,
    found: torch.Tensor,
    exact: torch.Tensor | None,
    own: torch.Tensor | None,
) -> Verdict:
    target = held.targets.get(held.planned.index(claim))
    other: torch.Tensor | None = None
    if isinstance(target, Verdict):
        told = f"the run to compare with failed: {target.detail}"
        return run.verdict(name, claim.kind_name, "error", told)
    if isinstance(target, RunView):
        other = target.outputs.get(name)
        if other is None:
            told = f"{_place(target)} does not record it: nothing to compare with"
            return run.verdict(name, claim.kind_name, "error", told)
        if other.shape != found.shape or other.dtype != found.dtype:
            told = f"expected {describe(other)} as at {_place(target)}, found {describe(found)}"
            return run.verdict(name, claim.kind_name, "fail", told)
    noise = None
    if twins := held.noises.get(held.planned.index(claim)):
        settled, shaken = twins
        noise = noise_between(settled.outputs.get(name), shaken.outputs.get(name))
        if noise is not None and noise.settled.shape != found.shape:
            noise = None
    outcome = judge(claim.kind, found, exact, own, other, noise)
    itself = claim.kind_name not in ("within_ulps", "nonfinite") and (
        held_to(held.planned, claim, run.point) == run.point
    )
    return run.judged(name, claim.kind_name, outcome, itself)


def _place(run: RunView) -> str:
    words = [f"level {run.point.level} {run.level_name}", run.point.device]
    return ", ".join([*words, *(f"{name} {text}" for name, text in run.point.variant)])
