"""Cells: what counts as the worst, and how much of an allowance is used."""

from __future__ import annotations

import math

import pytest

from porter.report.html_report.gather import cell_of, claim_results
from porter.report.html_report.page import bar, number, percent, span
from porter.verify.judge.result import Verdict


def verdict(word: str = "pass", output: str = "y", **more: object) -> Verdict:
    return Verdict(
        1, "one", "float32", output=output, claim="parity", word=word, **({"seed": 0} | more)
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "allowed", "lower", "expected"),
    [
        (1.0, 4.0, False, 0.25),
        (50.0, 40.0, True, 0.8),  # 50 dB where at least 40 are wanted
        (0.0, 0.0, False, 0.0),
        (1.0, 0.0, False, math.inf),
        (0.0, 40.0, True, math.inf),
        (math.nan, 1.0, False, math.inf),
        (3.0, None, False, None),
    ],
)
def test_a_share_is_one_at_the_limit(
    error: float, allowed: float | None, lower: bool, expected: float | None
) -> None:
    assert verdict(error=error, allowed=allowed, lower=lower).share == expected


def test_a_row_is_the_worst_of_its_seeds() -> None:
    several = [
        verdict(seed=seed, error=error, allowed=1.0) for seed, error in enumerate((0.2, 0.9))
    ]

    (row,) = claim_results([*several, verdict(seed=2, error=0.1, allowed=1.0)])

    assert (row.seeds, row.verdict.share, row.verdict.seed) == (3, 0.9, 1)


def test_a_cell_is_as_bad_as_its_worst_claim_and_shows_that_first() -> None:
    cell = cell_of(1, "one", "sim:hpu", [
        verdict("baseline", "a"),
        verdict("fail", "b"),
        verdict("pass", "c", error=1.0, allowed=2.0),
    ])  # fmt: skip

    assert (cell.word, cell.bad, cell.share) == ("fail", 1, 0.5)
    assert cell.rows[0].verdict.output == "b"
    assert cell_of(1, "one", "cpu", []).word == "missing"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (0.0, "0 %"), (0.001, "<1 %"), (0.42, "42 %"), (1.5, "150 %"), (13.2, "13x"),
     (math.inf, "∞")],
)  # fmt: skip
def test_a_share_in_short(value: float | None, shown: str) -> None:
    assert percent(value) == shown


def test_a_bar_is_full_at_the_limit_and_beyond() -> None:
    assert [bar(value) for value in (None, 0.0, 0.5, 1.0, 7.0, math.nan)] == [
        0,
        0,
        50,
        100,
        100,
        100,
    ]


@pytest.mark.parametrize(
    ("value", "measure", "shown"),
    [(2.9e-5, "max", "2.9e-05"), (3250.0, "count", "3,250"), (8.0, "ulps", "8 ulps"),
     (41.25, "dB", "41.25 dB"), (-math.inf, "", "-∞"), (math.nan, "", "NaN")],
)  # fmt: skip
def test_numbers_are_short_and_keep_their_unit(value: float, measure: str, shown: str) -> None:
    assert number(value, measure) == shown


def test_levels_in_a_row_are_written_as_one() -> None:
    assert span((0, 1, 2, 5, 7, 8)) == "0-2, 5, 7-8"
