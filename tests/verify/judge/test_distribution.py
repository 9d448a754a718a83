"""The Kolmogorov-Smirnov test against scipy, counts of every ordering, and its own limit."""

from __future__ import annotations

import itertools
import math
import warnings
from collections import Counter
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp, kstwobign

import porter.verify.judge.distribution as module
from porter.verify.judge.compare import judge
from porter.verify.judge.distribution import distance, p_value
from porter.verify.recipe.claims import SameDistribution


def gap_by_definition(x: list[float], y: list[float]) -> Fraction:
    """The greatest distance between two empirical distribution functions."""
    return max(
        abs(Fraction(sum(a <= at for a in x), len(x)) - Fraction(sum(b <= at for b in y), len(y)))
        for at in (*x, *y)
    )


SAMPLES = st.lists(st.integers(-20, 20), min_size=1, max_size=60)  # with ties


@settings(max_examples=100, deadline=None)
@given(x=SAMPLES, y=SAMPLES)
def test_distances_and_exact_p_values_are_those_of_scipy(x: list[int], y: list[int]) -> None:
    n, m = len(x), len(y)
    try:
        with warnings.catch_warnings():  # action= is Python 3.11's
            warnings.simplefilter("error")
            expected = ks_2samp(x, y, method="exact")
    except RuntimeWarning:  # scipy rounds to above 1 where p is 1, and gives a limit instead
        assume(False)

    gap = distance(torch.tensor(x), torch.tensor(y))

    assert gap / (n * m) == pytest.approx(float(expected.statistic), abs=1e-12)
    assert p_value(gap, n, m) == pytest.approx(float(expected.pvalue), rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1500, 10**6), m=st.integers(1500, 10**6), t=st.floats(0.3, 5, allow_nan=False))
def test_p_values_of_many_values_are_scipys_limit_at_stephens_argument(
    n: int, m: int, t: float
) -> None:
    s = math.sqrt(n * m / (n + m))
    stephens = s + 0.12 + 0.11 / s
    gap = math.ceil(t / stephens * n * m)

    expected = float(kstwobign.sf(stephens * gap / (n * m)))

    assert p_value(gap, n, m) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.1])
def test_p_values_of_many_values_are_near_scipys_exact_ones(shift: float) -> None:
    x, y = draws(3), draws(4) + shift
    expected = ks_2samp(x.numpy(), y.numpy(), method="exact")

    assert p_value(distance(x, y), 2000, 2000) == pytest.approx(float(expected.pvalue), rel=0.05)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3), (4, 4), (5, 3), (3, 7)])
def test_p_values_are_the_share_of_orderings_that_are_as_far_apart(n: int, m: int) -> None:
    gaps: Counter[int] = Counter()
    for chosen in itertools.combinations(range(n + m), n):
        rest = [float(i) for i in range(n + m) if i not in chosen]
        gap = gap_by_definition([float(i) for i in chosen], rest) * n * m
        assert gap == distance(torch.tensor(chosen).float(), torch.tensor(rest))
        gaps[int(gap)] += 1

    for gap in gaps:
        expected = sum(number for g, number in gaps.items() if g >= gap) / sum(gaps.values())
        assert p_value(gap, n, m) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "steps"), [(900, 1), (900, 40), (900, 150), (3072, 1100)])
def test_p_values_of_large_samples_are_those_of_the_reflection_formula(
    n: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXACT", 2 * n)
    paths = sum(  # leaving |i - j| < steps at least once, by reflection
        (-1) ** (k - 1) * math.comb(2 * n, n - k * steps) for k in range(1, n // steps + 1)
    )
    expected = 2 * Fraction(paths, math.comb(2 * n, n))

    assert p_value(steps * n, n, n) == pytest.approx(float(expected), rel=1e-9)


def test_values_that_are_equal_count_on_both_sides() -> None:
    x, y = [1.0, 2.0, 2.0, 3.0], [2.0, 2.0, 5.0]

    assert distance(torch.tensor(x), torch.tensor(y)) == gap_by_definition(x, y) * 12


@pytest.mark.parametrize("d", [0.06, 0.08, 0.1])
def test_the_limit_for_many_values_meets_the_exact_count(
    d: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, m = 1000, 900
    exact = p_value(int(d * n * m), n, m)

    monkeypatch.setattr(module, "EXACT", 0)

    assert p_value(int(d * n * m), n, m) == pytest.approx(exact, rel=0.05)


def draws(seed: int, number: int = 2000) -> torch.Tensor:
    return torch.randn(number, generator=torch.Generator().manual_seed(seed))


def test_other_draws_of_one_distribution_pass_and_another_distribution_fails() -> None:
    claim = SameDistribution(p=0.001, reason="r")

    same = judge(claim, draws(1), draws(2), None)
    wider = judge(claim, draws(1) * 1.3, draws(2), None)

    assert same.held
    assert not wider.held
    assert not wider.problem
    assert wider.detail.endswith("of 2000 and 2000 values")


@pytest.mark.parametrize(
    ("number", "detail"),
    [
        (5, "could not fail: samples of 5 and 5 values never give a p-value below 0.0079"),
        (12, "could not fail: with 12 and 12 values a constant (the median) has p"),
    ],
)
def test_too_few_samples_could_not_fail(number: int, detail: str) -> None:
    claim = SameDistribution(p=0.001, reason="r")

    outcome = judge(claim, draws(1, number), draws(2, number), None)

    assert outcome.problem
    assert outcome.detail.startswith(detail)


def test_a_nan_is_no_draw() -> None:
    sample = draws(1)
    sample[3] = torch.nan

    outcome = judge(SameDistribution(p=0.001, reason="r"), sample, draws(2), None)

    assert not outcome.held
    assert outcome.detail == "1 NaN of 2000"
