"""Ratios of rates and their intervals, against tables, scipy and repeated draws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student_t

from porter.verify.judge.throughput import FEWEST, judge_ratio, ratio_interval, student_quantile
from porter.verify.recipe.claims import Ratio


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(1, 12.706), (2, 4.303), (5, 2.571), (10, 2.228), (30, 2.042), (120, 1.980)],
)
def test_students_quantiles_are_those_of_the_tables(degrees: int, expected: float) -> None:
    assert student_quantile(0.975, degrees) == pytest.approx(expected, abs=6e-4)


@settings(max_examples=50, deadline=None)
@given(probability=st.floats(0.6, 0.999), degrees=st.floats(FEWEST - 1, 500))
def test_students_quantiles_are_those_of_scipy(probability: float, degrees: float) -> None:
    expected = float(student_t.ppf(probability, degrees))

    assert student_quantile(probability, degrees) == pytest.approx(expected, rel=1e-4)


def rates(mean: float, number: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean * torch.exp(0.1 * torch.randn(number, generator=generator, dtype=torch.float64))


def test_the_interval_holds_the_true_ratio_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(200):
        low, _, high = ratio_interval(rates(30, 8, 2 * seed), rates(20, 12, 2 * seed + 1), 0.9)
        inside += low <= 1.5 <= high

    assert inside / 200 == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize(("at_least", "held"), [(1.3, True), (1.48, False), (1.7, False)])
def test_a_ratio_holds_when_the_whole_interval_is_above_the_bound(
    at_least: float, held: bool
) -> None:
    outcome = judge_ratio(Ratio(level="one", at_least=at_least), rates(30, 20, 1), rates(20, 20, 2))

    assert outcome.held == held
    assert "95 % interval" in outcome.detail


@pytest.mark.parametrize(
    ("measured", "detail"),
    [
        (torch.ones(4), "expected 5 or more rates in a row, found float32[4]"),
        (torch.tensor([1.0, 2, 3, 0, 1]), "expected rates above 0, found one that is not"),
        (torch.tensor([1.0, 2, 3, torch.inf, 1]), "expected rates above 0, found 1 inf of 5"),
    ],
)
def test_too_few_or_impossible_rates_are_errors(measured: torch.Tensor, detail: str) -> None:
    outcome = judge_ratio(Ratio(level="one"), rates(30, 20, 1), measured)

    assert outcome.problem
    assert outcome.detail == detail
