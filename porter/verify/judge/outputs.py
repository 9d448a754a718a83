"""Judge every output of a run by every claim on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from porter.verify.judge.compare import judge
from porter.verify.judge.noise import noise_between
from porter.verify.judge.result import Outcome, Verdict, Word, cause_text, names_text
from porter.verify.judge.tensors import dead_output, describe, text_difference, text_of
from porter.verify.plan.matrix import RecipePlan, RunSpec, claims_on, held_to
from porter.verify.recipe.claim_key import claim_key
from porter.verify.recipe.claims import Claim


@dataclass(frozen=True)
class RunView:
    """What one finished run recorded and counted, and verdicts on it.

    ``failures`` holds, by the name of a failed attempt, its message and the lines of the tree.
    """

    spec: RunSpec
    level_name: str
    outputs: Mapping[str, torch.Tensor]
    counters: Mapping[str, float]
    kinds: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def failure_of(self, name: str) -> str:
        """Return the name of the failed attempt that ``name`` belongs to, "" if there is none."""
        return next((at for at in self.failures if f"{name}/".startswith(f"{at}/")), "")

    def failed_attempts(self) -> Iterator[Verdict]:
        """Yield an error for each failed attempt."""
        for name, (message, *frames) in self.failures.items():
            failed = self.verdict(name, None, "error", cause_text(message))
            yield replace(failed, frames="\n".join(frames))

    def verdict(self, output: str, claim: Claim | None, word: Word, detail: str = "") -> Verdict:
        """Return a verdict on this run without figures."""
        spec = self.spec
        return Verdict(
            level=spec.level,
            level_name=self.level_name,
            dtype=spec.dtype,
            seed=spec.seed,
            output=output,
            claim=claim.kind_name if claim else "",
            word=word,
            detail=detail,
            device=spec.device,
            variant=spec.variant,
            subject=claim.subject if claim else "outputs",
            contract=claim.contract if claim else None,
            claim_key=claim_key(claim) if claim else "",
        )

    def judged(
        self, output: str, claim: Claim, outcome: Outcome, is_own_baseline: bool = False
    ) -> Verdict:
        """Return the verdict of an outcome; ``is_own_baseline``: the run was held to itself."""
        word: Word = "pass" if outcome.held else "fail"
        if outcome.problem:
            word = "error"
        elif outcome.held and is_own_baseline:
            word = "baseline"
        return replace(
            self.verdict(output, claim, word, outcome.detail),
            measure=outcome.measure,
            error=outcome.error,
            allowed=outcome.allowed,
            lower=outcome.lower,
            noise=outcome.noise,
        )

    def unmatched(self, claim: Claim, recorded: Iterable[str]) -> Verdict:
        """Return the error of a claim that matches none of the recorded outputs."""
        there = names_text(claim.pattern, recorded) or "nothing"
        detail = f"the claim matches no output; recorded: {there}"
        return self.verdict(claim.pattern, claim, "error", detail)


def judge_reference(
    reference: RunView, claims: Sequence[Claim], planned: RecipePlan
) -> Iterator[Verdict]:
    """Yield errors of the reference run, and of claims that match none of its outputs."""
    yield from reference.failed_attempts()
    rates = _rates(planned)
    for name, tensor in reference.outputs.items():
        if not any(claim.names(name) for claim in rates) and (why := dead_output(tensor)):
            yield reference.verdict(name, None, "error", f"the output {why}")
    for claim in claims:
        if not any(claim.names(name) for name in (*reference.outputs, *reference.failures)):
            yield reference.unmatched(claim, reference.outputs)


@dataclass(frozen=True)
class OutputJudge:
    """Judges the outputs of a run by the claims on them.

    It is compared with ``reference`` and ``baseline`` (None: not needed, or did not run).
    ``targets`` holds, by the claim's index, the run that a claim with ``against`` names, or the
    verdict that it failed; ``noises`` the run whose noise counts and its shaken twin.
    """

    run: RunView
    planned: RecipePlan
    reference: RunView | None
    baseline: RunView | None
    targets: Mapping[int, RunView | Verdict]
    noises: Mapping[int, tuple[RunView, RunView]]

    def verdicts(self, claims: Sequence[Claim]) -> Iterator[Verdict]:
        """Judge every output by the claims on outputs among ``claims``."""
        run = self.run
        on_outputs = [claim for claim in claims if claim.subject == "outputs"]
        rates, without = _rates(self.planned), self._without_reference()
        others = [other.outputs for other in self.targets.values() if isinstance(other, RunView)]
        known = self.reference.outputs if self.reference else {}
        for name in _names(known, run.outputs, *others):
            mine = [claim for claim in on_outputs if claim.names(name)]
            if not mine and self._needs_no_claim(name, (*rates, *without)):
                continue
            yield from self._of_output(name, mine)
        for claim in on_outputs:
            if not claim.needs_reference and not any(
                claim.names(name) for name in _names(run.outputs, run.failures, *others)
            ):
                yield run.unmatched(claim, run.outputs)

    def _needs_no_claim(self, name: str, others: Sequence[Claim]) -> bool:
        """Whether no claim here need cover an output: one of ``others`` does, or one left out."""
        named = any(claim.names(name) for claim in others)
        claims = self.planned.loaded.recipe.claims if self.planned.in_part else ()
        return named or any(claim.names(name) for claim in claims)

    def _without_reference(self) -> list[Claim]:
        """Return the claims on outputs that cannot be judged because the reference failed."""
        if self.reference is not None:
            return []
        claims = claims_on(self.planned, self.run.spec)
        return [claim for claim in claims if claim.subject == "outputs" and claim.needs_reference]

    def _of_output(self, name: str, claims: Sequence[Claim]) -> Iterator[Verdict]:
        run, reference = self.run, self.reference
        needed = not claims or any(claim.needs_reference for claim in claims)
        if run.failure_of(name) or (needed and reference and reference.failure_of(name)):
            return  # reported once, as the failed attempt
        if name not in run.outputs:
            if verdict := self._missing(name, claims):
                yield verdict
            return
        if reference is not None and needed and name not in reference.outputs:
            spec = reference.spec
            where = f"level 0, {spec.dtype}" if spec.device == "cpu" else f"level 0, {spec.device}"
            reason = f"the reference run ({where}) does not record it: nothing to compare with"
            yield run.verdict(name, None, "error", reason)
            return
        if not claims:
            reason = "no claim covers this output at this level and dtype"
            yield run.verdict(name, None, "error", reason)
            return
        found = run.outputs[name]
        exact = reference.outputs.get(name) if reference else None
        if exact is not None and dead_output(exact):
            return  # reported once, with the reference
        if exact is None and (why := dead_output(found)):
            yield run.verdict(name, claims[0], "error", f"the output {why}")
            return
        if exact is not None and found.shape != exact.shape:
            expected, there = list(exact.shape), list(found.shape)
            reason = f"expected shape {expected} as at level 0, found {there}"
            reason = self._in_words(name, found, exact) or reason
            yield run.verdict(name, claims[0], "fail", reason)
            return
        own = self.baseline.outputs.get(name) if self.baseline else None
        if own is not None and found.dtype != own.dtype:
            reason = f"expected {describe(own)} as at level 0, found {describe(found)}"
            yield run.verdict(name, claims[0], "fail", reason)
            return
        yield from (self._of_claim(name, claim, found, exact, own) for claim in claims)

    def _in_words(self, name: str, found: torch.Tensor, expected: torch.Tensor) -> str:
        """Return how a text or a list of files differs; "" for tensors and images."""
        kind = self.run.kinds.get(name)
        if kind not in ("text", "files") or {found.dtype, expected.dtype} != {torch.uint8}:
            return ""
        return text_difference(text_of(found), text_of(expected), files=kind == "files")

    def _missing(self, name: str, claims: Sequence[Claim]) -> Verdict | None:
        """Return the verdict on an output that another run records and this one does not."""
        if not claims:
            return None
        if self.reference is not None and name in self.reference.outputs:
            asked = any(claim.dtypes is not None for claim in claims)
            if not (asked or self.baseline is None or name in self.baseline.outputs):
                return None  # the probe records it in other dtypes only: no claim names this one
            reason = "missing: the reference run records it, this run does not"
            return self.run.verdict(name, claims[0], "fail", reason)
        for claim in claims:
            target = self.targets.get(self.planned.index(claim))
            if isinstance(target, RunView) and name in target.outputs:
                reason = f"missing: {_title(target)} records it, this run does not"
                return self.run.verdict(name, claim, "fail", reason)
        return None

    def _of_claim(
        self,
        name: str,
        claim: Claim,
        found: torch.Tensor,
        exact: torch.Tensor | None,
        own: torch.Tensor | None,
    ) -> Verdict:
        run, index = self.run, self.planned.index(claim)
        target = self.targets.get(index)
        other: torch.Tensor | None = None
        if isinstance(target, Verdict):
            reason = f"the run to compare with failed: {target.detail}"
            return run.verdict(name, claim, "error", reason)
        if isinstance(target, RunView):
            other = target.outputs.get(name)
            at = _title(target)
            if other is None:
                reason = f"{at} does not record it: nothing to compare with"
                return run.verdict(name, claim, "error", reason)
            if other.shape != found.shape or other.dtype != found.dtype:
                reason = f"expected {describe(other)} as at {at}, found {describe(found)}"
                reason = self._in_words(name, found, other) or reason
                return run.verdict(name, claim, "fail", reason)
        noise = None
        if twins := self.noises.get(index):
            settled, shaken = twins
            noise = noise_between(settled.outputs.get(name), shaken.outputs.get(name))
            if noise is not None and noise.settled.shape != found.shape:
                noise = None
        outcome = judge(claim.kind, found, exact, own, other, noise)
        held_with = next((each for each in (other, own, exact) if each is not None), None)
        if not outcome.held and not outcome.problem and held_with is not None:
            words = self._in_words(name, found, held_with)
            outcome = replace(outcome, detail=words or outcome.detail)
        itself = claim.kind_name not in ("within_ulps", "nonfinite") and (
            held_to(self.planned, claim, run.spec) == run.spec
        )
        return run.judged(name, claim, outcome, itself)


def _rates(planned: RecipePlan) -> list[Claim]:
    """Return the claims on throughputs: their outputs are times, compared with nothing else."""
    return [claim for claim in planned.loaded.recipe.claims if claim.subject == "throughput"]


def _names(*outputs: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for names in outputs for name in names))


def _title(run: RunView) -> str:
    words = [f"level {run.spec.level} {run.level_name}", run.spec.device]
    return ", ".join([*words, *(f"{name} {text}" for name, text in run.spec.variant)])
