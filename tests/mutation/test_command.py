"""What `porter mutate` tells where nobody watches: a log."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import pytest

from porter.commands import mutate


class Silent:
    """In place of a hunt: one recipe at one level, and no mutant."""

    def __init__(self, session: Any, kept: Any, files: Any, jobs: int, say: Any) -> None:
        self.say = say

    def run(self, recipes: Any, mutants: Any) -> Iterator[Any]:
        self.say("port/recipe at level one: without a mutant")
        yield from ()


def test_a_log_tells_each_recipe_before_its_mutants(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("porter.mutation.hunt.Hunt", Silent)
    asked = argparse.Namespace(jobs=1, port="port")
    mutate._hunt(asked, None, [], [], {}, {})  # type: ignore[arg-type]
    assert "porter: port/recipe at level one: without a mutant" in capsys.readouterr().err
