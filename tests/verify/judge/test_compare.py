"""Error measures and allowances, on numbers small enough to check by hand."""

from __future__ import annotations

import math

import pytest
import torch

from porter.verify.judge.compare import judge
from porter.verify.judge.tensors import dead_output
from porter.verify.recipe.claims import Equal, Nonfinite, Parity, WithinUlps

REFERENCE = torch.tensor([1.0, -2.0, 4.0], dtype=torch.float64)
EPS = torch.finfo(torch.float32).eps


def float32(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def test_parity_allows_twice_level_0s_error_and_a_floor() -> None:
    baseline = float32(1.0, -2.0, 4.001)

    outcome = judge(Parity(), float32(1.0, -2.0, 4.0019), REFERENCE, baseline)

    assert outcome.held
    assert outcome.allowed == pytest.approx(0.002 + 4 * EPS * 4, rel=1e-3)
    assert outcome.error == pytest.approx(0.0019, rel=1e-3)


def test_parity_refuses_more_than_that_and_says_where() -> None:
    outcome = judge(Parity(), float32(1.0, -2.0, 4.0021), REFERENCE, float32(1, -2, 4.001))

    assert not outcome.held
    assert not outcome.problem
    assert outcome.detail == "greatest difference at [2]: expected 4, found 4.0021"


def test_an_error_everywhere_does_not_hide_below_one_great_one() -> None:
    reference = torch.linspace(-1, 1, 1000, dtype=torch.float64)
    baseline = reference.float()
    baseline[0] += 0.01

    outcome = judge(Parity(), (reference + 0.005).float(), reference, baseline)

    assert not outcome.held
    assert outcome.measure == "rms"


def test_equal_results_pass_where_level_0_has_no_error_at_all() -> None:
    outcome = judge(Parity(), REFERENCE.float(), REFERENCE, REFERENCE.float())

    assert outcome.held
    assert outcome.error == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_infinity_never_pass_parity(value: float) -> None:
    outcome = judge(Parity(), float32(1, -2, value), REFERENCE, REFERENCE.float())

    assert not outcome.held
    assert "of 3" in outcome.detail


@pytest.mark.parametrize("kind", [Parity(), Nonfinite(reason="r"), WithinUlps(ulps=1, reason="r")])
def test_nan_on_both_sides_is_not_equality(kind: Parity | Nonfinite | WithinUlps) -> None:
    nan = torch.tensor([1.0, math.nan])

    outcome = judge(kind, nan, nan.double(), nan)

    assert outcome.problem
    assert "the reference is not finite (1 NaN of 2)" in outcome.detail


def test_equal_does_not_take_nan_for_nan() -> None:
    nan = torch.tensor([1.0, math.nan])

    assert not judge(Equal(), nan, nan.double(), nan).held


def test_overflow_of_level_0_gives_no_allowance() -> None:
    outcome = judge(Parity(), REFERENCE.float(), REFERENCE, float32(1, math.inf, 4))

    assert outcome.problem
    assert "gives no allowance" in outcome.detail


def test_a_parity_claim_that_zeros_would_pass_could_not_fail() -> None:
    outcome = judge(Parity(), REFERENCE.float(), REFERENCE, float32(30, 30, 30))

    assert outcome.problem
    assert "could not fail" in outcome.detail


def test_an_ulp_claim_that_a_constant_would_pass_could_not_fail() -> None:
    reference = torch.tensor([1.0, 1.0 + EPS], dtype=torch.float64)

    outcome = judge(WithinUlps(ulps=2, reason="r"), reference.float(), reference, None)

    assert "could not fail" in outcome.detail


def test_within_ulps_counts_the_spacing_of_the_recorded_dtype() -> None:
    found = REFERENCE.half()
    found[2] += 2 * 2**-8  # half's spacing at 4

    outcome = judge(WithinUlps(ulps=2, reason="r"), found, REFERENCE, None)

    assert outcome.held
    assert outcome.error == 2


def test_an_element_near_zero_is_held_to_its_neighbours_precision() -> None:
    reference = torch.tensor([1e-9, -2.0, 4.0], dtype=torch.float64)

    outcome = judge(WithinUlps(ulps=1, reason="r"), float32(0, -2, 4), reference, None)

    assert outcome.held


def test_within_ulps_refuses_a_reference_that_does_not_fit_the_dtype() -> None:
    reference = torch.tensor([1.0, 1e5], dtype=torch.float64)

    outcome = judge(WithinUlps(ulps=1, reason="r"), reference.half(), reference, None)

    assert outcome.problem
    assert "does not fit" in outcome.detail


def test_nonfinite_holds_only_while_it_is_so() -> None:
    claim = Nonfinite(reason="r")

    assert judge(claim, float32(1, math.inf, 4), REFERENCE, None).held
    assert judge(claim, float32(1, -2, 4), REFERENCE, None).detail.startswith("expected an inf")


def test_integers_must_be_equal() -> None:
    reference = torch.tensor([1, 2, 3])

    assert judge(Parity(), torch.tensor([1, 2, 3]), reference, reference).held
    outcome = judge(Parity(), torch.tensor([1, 2, 4]), reference, reference)
    assert outcome.detail == "1 of 3 elements differ"


def test_huge_values_do_not_overflow_the_measure() -> None:
    reference = torch.tensor([1e300, -1e300, 5e299], dtype=torch.float64)

    outcome = judge(Parity(), reference, reference, reference)

    assert outcome.held
    assert math.isfinite(outcome.allowed or math.inf)


@pytest.mark.parametrize(
    ("output", "detail"),
    [
        (torch.zeros(3), "all zero"),
        (torch.full((3,), 2.0), "constant (2)"),
        (torch.zeros(0, 3), "empty"),
        (torch.tensor(0.0), "all zero"),
        (torch.tensor(2.0), ""),
        (torch.tensor([1, 2]), ""),
        (torch.tensor([True, True]), "constant"),
    ],
)
def test_dead_outputs_are_found(output: torch.Tensor, detail: str) -> None:
    assert detail in dead_output(output)
    assert bool(detail) == bool(dead_output(output))
