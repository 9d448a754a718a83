"""One finished run: its outputs and counters, and verdicts on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from porter.verify.judge.result import Outcome, Verdict, Word
from porter.verify.plan.matrix import RunSpec

if TYPE_CHECKING:
    import torch

Outputs = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True)
class RunView:
    """What one run recorded and counted."""

    point: RunSpec
    level_name: str
    outputs: Outputs
    counters: Mapping[str, float]

    def verdict(self, output: str, claim: str, word: Word, detail: str = "") -> Verdict:
        """Return a verdict on this run without figures."""
        point = self.point
        return Verdict(
            point.level,
            self.level_name,
            point.dtype,
            point.seed,
            output,
            claim,
            word,
            detail=detail,
            device=point.device,
            variant=point.variant,
        )

    def judged(
        self, output: str, claim: str, outcome: Outcome, is_own_baseline: bool = False
    ) -> Verdict:
        """Return the verdict that an outcome comes to; ``itself``: it was held to itself."""
        word: Word = "pass" if outcome.held else "fail"
        if outcome.problem:
            word = "error"
        elif outcome.held and is_own_baseline:
            word = "baseline"
        point = self.point
        return Verdict(
            level=point.level,
            level_name=self.level_name,
            dtype=point.dtype,
            seed=point.seed,
            output=output,
            claim=claim,
            word=word,
            measure=outcome.measure,
            error=outcome.error,
            allowed=outcome.allowed,
            detail=outcome.detail,
            device=point.device,
            variant=point.variant,
            lower=outcome.lower,
            noise=outcome.noise,
        )
