"""Results of ``porter verify`` for programs: JSON, cases, and the worst of several verdicts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from porter.finding import Finding
from porter.report.ci.write import Case
from porter.verify.execution.sandbox import NONE
from porter.verify.judge.result import result_to_json

if TYPE_CHECKING:
    from porter.verify.judge.result import RecipeResult, Verdict
    from porter.verify.plan.select import Plan, RecipePlan, Unreachable

ORDER = ("skipped", "baseline", "pass", "missing", "fail", "error")
"""Words of verdicts and cells, the best first; ``missing``: no run is stored."""
STDERR_LINES = 12


def plain_results(
    results: Sequence[RecipeResult], unreachable: Sequence[Unreachable], passed: bool
) -> dict[str, Any]:
    """Return all results, every seed of them, as plain values for JSON."""
    return {
        "version": 1,
        "passed": passed,
        "sandbox": sandboxes(results),
        "recipes": [result_to_json(result) for result in results],
        "not_reachable": [
            {
                "port": one.port,
                "recipe": one.recipe or None,
                "short": one.reason,
                "reason": one.detail or one.reason,
                "failed": one.fault,
            }
            for one in unreachable
        ],
    }


def sandboxes(results: Iterable[RecipeResult]) -> str:
    """Return the kinds of sandbox that the results' runs were made in; "" where none is known."""
    return ", ".join(sorted({kind for one in results for kind in one.sandbox.split(", ") if kind}))


def sandbox_words(results: Sequence[RecipeResult], why: str) -> str:
    """Return the kinds of sandbox, and after "none" the reason ``why``, if it is known."""
    return re.sub(rf"\b{NONE}\b", lambda _: f"{NONE}: {why}" if why else NONE, sandboxes(results))


def unsandboxed(results: Sequence[RecipeResult], why: str) -> list[Case]:
    """Return a case with a note for each recipe that has runs which were made in no sandbox.

    ``why`` says why these could have none; "" where runs of earlier verifications had none.
    """
    reason = why or "the runs are of an earlier verification"
    text = f"made in no sandbox: {reason}; `--sandbox require` refuses such runs"
    return [
        Case(
            f"{one.port}/{one.recipe}",
            "sandbox",
            [Finding(f"recipes/{one.port}/{one.recipe}.yaml", 0, "sandbox", text, "note")],
        )
        for one in results
        if NONE in one.sandbox.split(", ")
    ]


def cases(plan: Plan, results: Sequence[RecipeResult], *, strict: bool) -> list[Case]:
    """Return a case for every run of every recipe, and one for each that is not reachable.

    The latter are skipped; with ``strict`` they fail, as they fail the verification.
    """
    planned = {(one.loaded.port, one.loaded.name): one for one in plan.recipes}
    found = [
        case for result in results for case in _runs(planned[result.port, result.recipe], result)
    ]
    return found + [_unreachable(one, strict) for one in plan.unreachable]


def _runs(planned: RecipePlan, result: RecipeResult) -> Iterator[Case]:
    group = f"{result.port}/{result.recipe}"
    by_run: dict[str, list[Verdict]] = {}
    for verdict in result.verdicts:
        by_run.setdefault(run_name(verdict), []).append(verdict)
    for name, verdicts in by_run.items():
        bad = [verdict for verdict in verdicts if verdict.bad]
        findings = [finding(planned, verdict) for verdict in bad]
        yield Case(group, name, findings, broken=any(v.word == "error" for v in bad))


def run_name(verdict: Verdict) -> str:
    """Return the name of a verdict's run: "level 1 norm, sim:hpu (simulated), float32, seed 0"."""
    parts = [f"level {verdict.level} {verdict.level_name}"]
    parts.append(f"{verdict.device} (simulated)" if verdict.simulated else verdict.device)
    parts += [verdict.dtype] if verdict.dtype else []
    parts += [f"{name}={value}" for name, value in verdict.variant]
    return ", ".join([*parts, f"seed {verdict.seed}"])


def finding(planned: RecipePlan, verdict: Verdict) -> Finding:
    """Return a bad verdict as a finding at the line of the recipe that states the claim."""
    loaded = planned.loaded
    output = f", {verdict.output}" if verdict.output else ""
    text = f"{run_name(verdict)}{output}: {verdict.detail or _numbers(verdict)}"
    lines = verdict.stderr.rstrip().splitlines()[-STDERR_LINES:]
    frames = [f"  at {frame}" for frame in verdict.frames.splitlines()]
    text = "\n".join([text, *frames, *(f"  | {line}" for line in lines)])
    if verdict.narrow:
        text += f"\nnarrow it down: {verdict.narrow}"
    rule = "counters" if verdict.subject == "counters" else verdict.claim
    rule = "throughput" if verdict.subject == "throughput" else rule or "run"
    file = f"recipes/{loaded.port}/{loaded.path.name}"
    return Finding(file, _claim_line(planned, verdict), rule, text)


def _numbers(verdict: Verdict) -> str:
    limit = "at least" if verdict.lower else "allowed"
    return f"{verdict.measure} {verdict.error}, {limit} {verdict.allowed}"


def _claim_line(planned: RecipePlan, verdict: Verdict) -> int:
    """Return the line of the claim that a verdict judges; without a claim, of the claims."""
    from porter.verify.plan.matrix import RunSpec, claims_on

    document = planned.loaded.document
    spec = RunSpec(
        verdict.level, verdict.device, verdict.dtype, verdict.seed, tuple(verdict.variant)
    )
    claims = document.value.claims
    # A claim across variants has a verdict that lacks what it varies: it is about no single run.
    for claim in (*claims_on(planned, spec), *claims):
        named = claim.names(verdict.output) or claim.pattern == verdict.output
        if claim.subject == verdict.subject and claim.kind_name == verdict.claim and named:
            return document.line(("claims", planned.index(claim)))
    return document.line(("claims",))


def _unreachable(one: Unreachable, strict: bool) -> Case:
    group = f"{one.port}/{one.recipe}" if one.recipe else one.port
    if not (one.fault or strict):
        return Case(group, "not reachable", skipped=one.reason)
    file = f"recipes/{one.port}/{one.recipe}.yaml" if one.recipe else f"patches/{one.port}/series"
    found = Finding(file, 0, "run", f"{group}: not reachable: {one.reason}")
    return Case(group, "not reachable", [found], broken=True)


def badness(verdict: Verdict) -> tuple[int, float, float]:
    """Return a key that orders verdicts: by word, by the used part of their allowance, by error."""
    share = verdict.share
    return ORDER.index(verdict.word), -1.0 if share is None else share, verdict.error or 0.0


_OTHER_RUN = re.compile(r"(?:reference run \([^)]*\)|shaken run): ")


def by_cause(verdicts: Iterable[Verdict]) -> list[list[Verdict]]:
    """Return the bad verdicts; failed runs with one cause come together, at the first one's place.

    Runs have one cause when they ended with the same message at the same lines of the tree.
    """
    found: dict[object, list[Verdict]] = {}
    for v in (verdict for verdict in verdicts if verdict.bad):
        cause = id(v) if v.output else (_OTHER_RUN.sub("", v.detail), v.frames)
        found.setdefault(cause, []).append(v)
    return list(found.values())


def worst_of_seeds(verdicts: Iterable[Verdict]) -> list[tuple[Verdict, int]]:
    """Return the worst seed's verdict of each run, output and claim, and the number of seeds."""
    found: dict[tuple[object, ...], tuple[Verdict, int]] = {}
    for v in verdicts:
        key = (v.level, v.device, v.dtype, v.variant, v.subject, v.output, v.claim)
        worst, seeds = found.get(key, (v, 0))
        found[key] = (v if badness(v) > badness(worst) else worst, seeds + 1)
    return list(found.values())
