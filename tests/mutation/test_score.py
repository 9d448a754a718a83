"""Counting fates: equivalent mutants are no mistakes, those not run are missed."""

from __future__ import annotations

import io

from rich.console import Console

from porter.mutation.mutants import Mutant
from porter.mutation.score import Outcome, as_json, rows
from porter.report.terminal.mutation import print_score, print_survivors


def outcome(level: str, fate: str) -> Outcome:
    text = "x = a - b\n"
    one = Mutant(1, level, "m.py", 1, "swapped-operands", text, "x = (b - a)\n", (1, 1))
    return Outcome(one, fate)  # type: ignore[arg-type]


OUTCOMES = [
    outcome("minimal", "caught"),
    outcome("minimal", "equivalent"),
    outcome("minimal", "survived"),
    outcome("hpu-graph", "not run"),
]


def printed(*, survivors: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=120, highlight=False)
    if survivors:
        print_survivors(console, OUTCOMES)
    else:
        print_score(console, "port", OUTCOMES, 10)
    return out.getvalue()


def test_scores_are_caught_among_mistakes() -> None:
    minimal, graph, everything = rows(OUTCOMES)

    assert (minimal.score, graph.score, everything.score) == (0.5, 0.0, 1 / 3)
    assert everything.total == 4


def test_a_level_of_equivalents_alone_has_no_score() -> None:
    assert rows([outcome("minimal", "equivalent")])[0].score is None


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


def test_json_holds_every_mutant_and_its_fate() -> None:
    told = as_json("port", OUTCOMES, 10)

    assert [each["fate"] for each in told["mutants"]] == [o.fate for o in OUTCOMES]
    assert told["levels"][-1]["score"] == 1 / 3
