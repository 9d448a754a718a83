"""Verdicts: what the traces of a recipe's runs come to, claim by claim. Nothing is run here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from porter.verify.compare import dead_output, describe, judge, mismatch
from porter.verify.recipe import Claim
from porter.verify.result import Verdict, Word

Outputs = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Ran:
    """The outputs of one level's run in one dtype, and where it stands."""

    level: int
    level_name: str
    dtype: str
    seed: int
    outputs: Outputs

    def verdict(self, output: str, claim: str, word: Word, detail: str = "") -> Verdict:
        return Verdict(
            self.level, self.level_name, self.dtype, self.seed, output, claim, word, detail=detail
        )


Applies = Callable[[Claim, int], bool]
"""Whether a claim speaks of a level, by the level's number."""


def judge_reference(reference: Ran, claims: Sequence[Claim]) -> list[Verdict]:
    """Return what is wrong with the reference run, or with the claims in its light."""
    verdicts = [
        reference.verdict(name, "", "error", f"the output {why}")
        for name, tensor in reference.outputs.items()
        if (why := dead_output(tensor))
    ]
    for claim in claims:
        if not any(claim.names(name) for name in reference.outputs):
            recorded = ", ".join(sorted(reference.outputs)) or "nothing"
            detail = f"the claim matches no output; recorded: {recorded}"
            verdicts.append(reference.verdict(claim.outputs, claim.given[0], "error", detail))
    return verdicts


def judge_run(
    run: Ran, reference: Ran, baseline: Outputs | None, claims: Sequence[Claim], applies: Applies
) -> list[Verdict]:
    """Hold every output of a run to every claim that speaks of it."""
    mine = [
        claim
        for claim in claims
        if (claim.dtypes is None or run.dtype in claim.dtypes) and applies(claim, run.level)
    ]
    verdicts: list[Verdict] = []
    for name in _names(reference.outputs, run.outputs):
        verdicts += _judge_output(
            run, name, reference, baseline, [c for c in mine if c.names(name)]
        )
    return verdicts


def _names(*outputs: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for names in outputs for name in names))


def _judge_output(
    run: Ran, name: str, reference: Ran, baseline: Outputs | None, claims: Sequence[Claim]
) -> list[Verdict]:
    if name not in run.outputs:
        asked = any(claim.dtypes is not None for claim in claims)
        if not claims or not (asked or baseline is None or name in baseline):
            return []  # the probe records it in other dtypes only, and nobody asked for this one
        told = "missing: the reference run records it, this run does not"
        return [run.verdict(name, claims[0].given[0], "fail", told)]
    if name not in reference.outputs:
        told = "the reference run (level 0, float64) does not record it: nothing to compare with"
        return [run.verdict(name, "", "error", told)]
    if not claims:
        return [run.verdict(name, "", "error", "nobody claims this output at this level and dtype")]
    found, exact = run.outputs[name], reference.outputs[name]
    if dead_output(exact):
        return []  # told once, with the reference
    if told := mismatch(found, exact):
        return [run.verdict(name, claims[0].given[0], "fail", told)]
    own = None if baseline is None else baseline.get(name)
    if own is not None and found.dtype != own.dtype:
        told = f"expected {describe(own)} as at level 0, found {describe(found)}"
        return [run.verdict(name, claims[0].given[0], "fail", told)]
    return [_judge_claim(run, name, claim, found, exact, own) for claim in claims]


def _judge_claim(
    run: Ran,
    name: str,
    claim: Claim,
    found: torch.Tensor,
    exact: torch.Tensor,
    own: torch.Tensor | None,
) -> Verdict:
    outcome = judge(claim.kind, found, exact, own)
    word: Word = "pass" if outcome.held else "fail"
    if outcome.problem:
        word = "error"
    elif outcome.held and run.level == 0 and claim.given[0] in ("parity", "equal"):
        word = "baseline"
    return Verdict(
        level=run.level,
        level_name=run.level_name,
        dtype=run.dtype,
        seed=run.seed,
        output=name,
        claim=claim.given[0],
        word=word,
        measure=outcome.measure,
        error=outcome.error,
        allowed=outcome.allowed,
        detail=outcome.detail,
    )
