"""Claims on counters, from a recipe's text to its verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.errors import BadInput
from porter.verify.plan.matrix import Failure, RunSpec
from tests.verify.judging import Given, judged, planned, summaries

SIMULATED = 'devices: ["sim:hpu"]\n'


def counts(claim: str, more: str = "levels: [one, two]\n") -> str:
    return f"claims: [{{counters: compilations, {claim}}}]\n{SIMULATED}{more}"


def by_level(*numbers: float, ops: float = 1000) -> dict[int, dict[str, float]]:
    return {level: {"compilations": n, "ops": ops} for level, n in enumerate(numbers)}


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ("at_most: 8", ["pass", "fail"]),
        ("at_least: 9", ["fail", "pass"]),
        ("equal: 8", ["pass", "fail"]),
        ("less_than: {level: upstream}", ["pass", "pass"]),
        ("less_than: {level: upstream, factor: 20}", ["pass", "fail"]),
        ("less_than: {level: upstream, factor: 20.1}", ["fail", "fail"]),
    ],
)
def test_counters_are_held_to_their_bounds(tmp_path: Path, claim: str, words: list[str]) -> None:
    numbers = by_level(160, 8, 9)

    verdicts = judged(tmp_path, counts(claim), lambda spec: numbers[spec.level])

    assert [v.word for v in verdicts] == words
    assert {(v.subject, v.output, v.device) for v in verdicts} == {
        ("counters", "compilations", "sim:hpu")
    }


def test_a_level_is_not_less_than_itself(tmp_path: Path) -> None:
    numbers = by_level(9, 9, 9)

    verdicts = judged(
        tmp_path, counts("less_than: {level: one}", ""), lambda spec: numbers[spec.level]
    )

    assert [(v.level, v.word) for v in verdicts if v.output] == [(0, "fail"), (2, "fail")]


def test_less_than_nothing_could_not_hold(tmp_path: Path) -> None:
    numbers = by_level(0, 0, 0)

    verdicts = judged(
        tmp_path, counts("less_than: {level: upstream}"), lambda spec: numbers[spec.level]
    )

    assert {(v.word, v.detail) for v in verdicts} == {
        ("error", "could not hold: the run to compare with counts 0")
    }


def test_a_bound_above_all_ops_could_not_fail(tmp_path: Path) -> None:
    numbers = by_level(1, 1, 1, ops=7)

    verdicts = judged(tmp_path, counts("at_most: 8"), lambda spec: numbers[spec.level])

    assert summaries(verdicts)[0] == (1, "error", "could not fail: 7 ops were run in all")


def test_ops_replayed_from_a_graph_are_ops_too(tmp_path: Path) -> None:
    counters = {"compilations": 1, "ops": 7, "replayed_ops": 900}

    verdicts = judged(tmp_path, counts("at_most: 8"), lambda _: counters)

    assert {v.word for v in verdicts} == {"pass"}


def test_a_counter_that_is_not_there_is_an_error_with_those_that_are(tmp_path: Path) -> None:
    verdicts = judged(tmp_path, counts("at_most: 8"), lambda _: {"ops": 3, "kernels": 2})

    assert summaries(verdicts)[0] == (
        1,
        "error",
        "no counter of this name; counted: kernels, ops",
    )


def test_of_many_counters_the_most_similar_are_listed(tmp_path: Path) -> None:
    names = ("replays", "captures", "host_sync", "h2d", "d2h", "kernels", "ops")
    counted = {f"{part}/{name}": 3 for part in ("first", "second", "third") for name in names}

    verdicts = judged(tmp_path, "claims: [{counters: '*/replay', equal: 0}]\n", lambda _: counted)

    _, _, text = summaries(verdicts)[0]
    assert text.startswith("no counter of this name; counted: first/replays, first/")
    assert text.endswith(" and 15 more")
    assert len(text) < 140


def test_a_device_that_counts_nothing_is_told(tmp_path: Path) -> None:
    recipe = "claims: [{counters: compilations, equal: 0}]\n"

    verdicts = judged(tmp_path, recipe, lambda _: {}, levels=1)

    assert summaries(verdicts) == [
        (
            0,
            "error",
            "no counter of this name; counted: none "
            "(cpu counts nothing by itself: a simulated device does, or the probe)",
        )
    ]


INDEPENDENT = counts(
    "independent_of: steps", "levels: [one]\nvary: {steps: [4, 8], size: [1, 2]}\n"
)


@pytest.mark.parametrize(("growth", "word"), [(0, "pass"), (1, "fail")])
def test_a_counter_must_not_grow_with_what_it_is_independent_of(
    tmp_path: Path, growth: int, word: str
) -> None:
    def given(spec: RunSpec) -> Given:
        return {"compilations": 3 + spec.values["size"] + growth * spec.values["steps"]}

    verdicts = judged(tmp_path, INDEPENDENT, given)

    assert [(v.variant, v.word) for v in verdicts] == [
        ((("size", "1"),), word),
        ((("size", "2"),), word),
    ]
    assert [(v.measure, v.error, v.allowed) for v in verdicts] == [
        ("count", 4 + 8 * growth, 4 + 4 * growth),
        ("count", 5 + 8 * growth, 5 + 4 * growth),
    ]
    if growth:
        assert verdicts[0].detail == "compilations by steps: 4: 8, 8: 12"


@pytest.mark.parametrize(
    ("numbers", "factor", "allowed"),
    [((160, 8), 1, 159), ((160, 8), 20, 8), ((100, 8), 3, 33), ((12.5, 8), 2, 6.25)],
)
def test_the_bound_of_a_counter_that_is_whole_is_whole(
    tmp_path: Path, numbers: tuple[float, float], factor: float, allowed: float
) -> None:
    counted = by_level(*numbers)
    claim = counts(f"less_than: {{level: upstream, factor: {factor}}}", "levels: [one]\n")

    [verdict] = judged(tmp_path, claim, lambda spec: counted[spec.level])

    assert verdict.allowed == allowed


def test_independence_of_runs_that_failed_is_an_error(tmp_path: Path) -> None:
    def given(spec: RunSpec) -> Given:
        if spec.values["steps"] == 8:
            return Failure("exit", "ended", "")
        return {"compilations": 3}

    verdicts = judged(tmp_path, INDEPENDENT, given)

    assert sorted(v.detail for v in verdicts) == [
        "1 of 2 runs came to an end: nothing to compare",
        "1 of 2 runs came to an end: nothing to compare",
        "ended",
        "ended",
    ]


@pytest.mark.parametrize(
    ("claim", "error"),
    [
        ("at_least: 0", "claims[0].at_least: expected a number above 0, found 0, which cannot"),
        ("at_most: -1", "claims[0].at_most: expected a number of at least 0, found -1"),
        ("equal: {}", "claims[0].equal: expected a number, found a mapping"),
        ("parity: {}", "claims[0]: expected exactly one of at_most, at_least, equal, less_than, i"),
        ("less_than: {}", "claims[0].less_than: expected `level`, `device` or `where`, found none"),
        ("less_than: {level: nope}", "claims[0].less_than.level: expected a level of port, found"),
        ("independent_of: size", "claims[0].independent_of: expected a name in `vary` (steps)"),
        (
            "independent_of: steps, where: {steps: [4]}",
            "where.steps: expected two or more values of steps, found 1, which cannot fail",
        ),
    ],
)
def test_claims_that_make_no_sense_are_told_with_line_and_key(
    tmp_path: Path, claim: str, error: str
) -> None:
    with pytest.raises(BadInput) as raised:
        planned(tmp_path, counts(claim, "levels: [one]\nvary: {steps: [4, 8]}\n"))

    assert "one.yaml:4: " in str(raised.value)
    assert error in str(raised.value)
