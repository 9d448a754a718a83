"""Which claims state a bound, and which verdicts are whose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from porter.mutation.margins import bound, by_claim, figure, is_stated
from porter.verify.judge import judge
from porter.verify.plan.matrix import run_specs
from porter.verify.recipe.claim_key import claim_form
from porter.verify.recipe.claims import Claim
from tests.verify.judging import planned, trace_of

RECIPE = """\
    claims:
      - {outputs: "*", within_ulps: {ulps: 8, reason: "r"}}
      - {outputs: y, within_ulps: {ulps: 2, reason: "r"}}
      - {outputs: y, finite: {}}
      - {counters: "c*", at_most: 5}
      - {counters: calls, at_most: 4}
    """
RISING = torch.arange(1.0, 9.0)


def claim(**kind: Any) -> Claim:
    subject = "counters" if set(kind) <= {"at_most", "at_least", "less_than"} else "outputs"
    return msgspec.convert({subject: "*", **kind}, Claim)


@pytest.mark.parametrize(
    ("kind", "stated"),
    [
        ({"psnr": {"at_least": 40, "reason": "r"}}, True),
        ({"allclose": {"atol": 1, "reason": "r"}}, True),
        ({"at_most": 4}, True),
        ({"less_than": {"level": "one"}}, True),
        ({"parity": {"ulps": 16, "reason": "r"}}, True),
        ({"loss_curve": {"factor": 3, "reason": "r"}}, True),
        ({"parity": {}}, False),
        ({"equal": {}}, False),
    ],
)
def test_a_bound_is_stated_where_a_figure_of_the_recipe_decides(
    kind: dict[str, Any], stated: bool
) -> None:
    assert is_stated(claim(**kind)) == stated


def test_claims_that_differ_in_reason_and_single_figure_have_one_form() -> None:
    loose = claim(psnr={"at_least": 20, "peak": 4, "reason": "one"})
    tight = claim(psnr={"at_least": 40, "peak": 4, "reason": "another"})
    other = claim(psnr={"at_least": 40, "peak": 2, "reason": "another"})

    assert claim_form(loose) == claim_form(tight) != claim_form(other)
    assert (figure(loose), figure(tight)) == (20, 40)
    assert claim_form(claim(at_most=1)) == claim_form(claim(at_most=2))


def test_claims_of_two_figures_have_a_form_for_each_pair() -> None:
    one, other = (claim(allclose={"rtol": r, "atol": 1, "reason": "r"}) for r in (0.1, 0.2))

    assert figure(one) is None
    assert claim_form(one) != claim_form(other)
    assert bound(one) == "allclose rtol 0.1 atol 1"


def test_each_verdict_is_its_claims_though_kinds_come_twice(tmp_path: Path) -> None:
    plan = planned(tmp_path, RECIPE, 2)
    runs = {spec: trace_of({"y": RISING, "z": RISING, "calls": 3}) for spec in run_specs(plan)}

    found = by_claim(plan, judge(plan, runs))

    allowed = {
        index: {name: verdict.allowed for (_, name), verdict in several.items()}
        for index, several in found.items()
    }
    assert allowed == {
        0: {"y": 8, "z": 8},
        1: {"y": 2},
        2: {"y": 0},
        3: {"calls": 5},
        4: {"calls": 4},
    }


def test_a_missing_output_is_a_verdict_on_every_claim_on_it(tmp_path: Path) -> None:
    plan = planned(tmp_path, RECIPE, 2)
    whole, part = ({"y": RISING, "z": RISING, "calls": 3}, {"z": RISING, "calls": 3})
    runs = {p: trace_of(part if p.level == 1 else whole) for p in run_specs(plan)}

    found = by_claim(plan, judge(plan, runs))

    bad = {index for index, several in found.items() if any(v.bad for v in several.values())}
    assert bad == {0, 1, 2}
