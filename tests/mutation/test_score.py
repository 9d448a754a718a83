"""Scores: equivalent mutants are not mistakes, those not run are missed."""

from __future__ import annotations

import io

from rich.console import Console

from porter.mutation.mutants import Mutant, MutantResult, level_scores, scores_json
from porter.report.terminal.mutation import print_score, print_survivors


def result(level: str, status: str) -> MutantResult:
    text = "x = a - b\n"
    one = Mutant(1, level, "m.py", 1, "swapped-operands", text, "x = (b - a)\n", (1, 1))
    return MutantResult(one, status)  # type: ignore[arg-type]


RESULTS = [
    result("minimal", "caught"),
    result("minimal", "equivalent"),
    result("minimal", "survived"),
    result("hpu-graph", "not run"),
]


def printed(*, survivors: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=120, highlight=False)
    if survivors:
        print_survivors(console, RESULTS)
    else:
        print_score(console, "port", RESULTS, 10)
    return out.getvalue()


def test_scores_are_caught_among_mistakes() -> None:
    minimal, graph, everything = level_scores(RESULTS)

    assert (minimal.score, graph.score, everything.score) == (0.5, 0.0, 1 / 3)
    assert everything.total == 4


def test_a_level_of_equivalents_alone_has_no_score() -> None:
    assert level_scores([result("minimal", "equivalent")])[0].score is None


def test_the_table_says_that_it_is_a_sample() -> None:
    text = printed(survivors=False)

    assert "hpu-graph" in text
    assert "33.3%" in text
    assert "a sample of 4 of 10 mutants" in text


def test_survivors_are_shown_as_diffs_with_the_reason() -> None:
    text = printed(survivors=True)

    assert text.count("-x = a - b") == 2
    assert "every recipe passes" in text
    assert "no recipe runs this line" in text


def test_json_holds_every_mutant_and_its_status() -> None:
    data = scores_json("port", RESULTS, 10)

    assert [each["fate"] for each in data["mutants"]] == [o.status for o in RESULTS]
    assert data["levels"][-1]["score"] == 1 / 3
