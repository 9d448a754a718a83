"""Which differences rounding explains, on sampled tensors."""

from __future__ import annotations

import math

import pytest
import torch

from porter.verify.divergence.tolerance import Allowance, Difference, difference, differences
from tests.verify.divergence.samples import sampled

RULE = Allowance(factor=2, ulps=8, loose_ulps=64)
EXACT = torch.linspace(-1, 2, 40, dtype=torch.float64).sin()


def held(
    second: torch.Tensor, first: torch.Tensor | None = None, exact: torch.Tensor | None = EXACT
) -> Difference:
    own = EXACT.float() if first is None else first
    return difference(
        sampled(own), sampled(second), None if exact is None else sampled(exact), RULE
    )


def test_the_same_bits_do_not_differ() -> None:
    assert held(EXACT.float()).error == 0
    assert held(torch.full((3,), math.nan), torch.full((3,), math.nan)).error == 0


def test_twice_the_first_runs_own_error_is_allowed_and_more_is_not() -> None:
    noise = 1e-4 * torch.ones(40)
    first = (EXACT + noise).float()

    assert not held((EXACT - 1.9 * noise).float(), first).diverges
    found = held((EXACT - 2.1 * noise).float(), first)
    assert found.diverges
    assert found.own_error == pytest.approx(1e-4, rel=1e-2)
    assert found.share == pytest.approx(1.05, rel=1e-2)


def test_without_an_exact_run_the_two_are_held_to_each_other() -> None:
    eps = torch.finfo(torch.float32).eps

    assert not held(EXACT.float() + 60 * eps, exact=None).diverges
    assert held(EXACT.float() + 70 * eps, exact=None).diverges


def test_a_small_error_everywhere_shows_beside_one_great_element() -> None:
    exact = EXACT.clone()
    exact[0] = 1e4

    found = held((exact + 3e-3).float(), exact.float(), exact)

    assert (found.diverges, found.measure) == (True, "rms")
    assert not held((exact + 1e-3).float(), exact.float(), exact).diverges


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_only_the_second_run_cannot_represent_departs(bad: float) -> None:
    second = EXACT.float()
    second[3] = bad

    assert held(second).diverges
    assert not held(EXACT.float(), second).diverges  # the first overflows: no word on the second


def test_whole_numbers_have_no_rounding() -> None:
    found = held(torch.tensor([1, 2, 4]), torch.tensor([1, 2, 3]), None)

    assert (found.measure, found.error, found.diverges) == ("elements", 1, True)


def test_a_difference_outside_the_kept_elements_is_owned_up_to() -> None:
    first = torch.arange(100.0)
    second = first.clone()
    second[1] = 7

    found = difference(sampled(first, sample=10), sampled(second, sample=10), None, RULE)

    assert not found.diverges
    assert found.unseen


def test_tensors_kept_at_different_densities_are_compared_where_both_were() -> None:
    first, second = torch.arange(200.0), torch.arange(200.0)
    second[99] = 0
    dense, thin = sampled(first, sample=40), sampled(second, most_bytes=200 * 8 * 2)
    assert (dense.step, thin.step) == (5, 1)

    assert difference(dense, thin, None, RULE).unseen  # 99 is no multiple of 5
    second[100] = 0
    assert difference(dense, sampled(second), None, RULE).diverges


def test_outputs_are_compared_by_name_and_else_by_place() -> None:
    first = [sampled(torch.ones(2), "a"), sampled(torch.zeros(2), "b")]
    second = [sampled(torch.zeros(2), "b"), sampled(torch.ones(2), "a")]

    assert not any(each.diverges for each in differences(first, second, None, RULE))
