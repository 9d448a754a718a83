"""What `porter mutate` tells where nobody watches: a log."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import pytest

from porter.commands import mutate
from porter.mutation.mutants import Mutant
from porter.mutation.score import Outcome

MUTANT = Mutant(1, "one", "code.py", 1, "dropped-term", "x - 1\n", "x\n", (1, 1))


class Silent:
    """In place of a hunt: one recipe at one level, which passes every mutant."""

    def __init__(self, session: Any, kept: Any, files: Any, jobs: int, say: Any) -> None:
        self.say = say

    def run(self, recipes: Any, mutants: Any) -> Iterator[Any]:
        self.say("port/recipe at level one: without a mutant")
        yield from ((Outcome(mutant, "survived"), False) for mutant in mutants)


def test_a_log_tells_each_recipe_and_each_mutant_that_it_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("porter.mutation.hunt.Hunt", Silent)
    asked = argparse.Namespace(jobs=1, port="port")
    mutate._hunt(asked, None, [], [MUTANT], {}, {})  # type: ignore[arg-type]
    first, second = capsys.readouterr().err.splitlines()
    assert first == "porter: port/recipe at level one: without a mutant"
    assert second == f"porter: {MUTANT.key}  one  dropped-term  code.py:1  every recipe passes"
