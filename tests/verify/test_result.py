"""A result's JSON form: what is written is read again, infinities and NaN included."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from porter.verify.judge.result import (
    KnownWrong,
    RecipeResult,
    Verdict,
    result_from_json,
    result_to_json,
    verdict_to_json,
)
from porter.verify.recipe.schema import as_text

FULL: dict[str, Any] = {
    "word": "fail",
    "measure": "dB",
    "error": 40.25,
    "allowed": 45.0,
    "detail": "too far",
    "stderr": "boom\n",
    "device": "sim:hpu",
    "variant": (("steps", "4"), ("where", as_text({"a": [1, None], "b": "ü"}))),
    "subject": "counters",
    "lower": True,
    "narrow": "porter compare",
    "contract": False,
    "claim_key": "0123456789ab",
    "known_wrong": KnownWrong("dB", 39.0, -math.inf, 7),
    "noise": 1e-300,
    "frames": "a.py:1 in f: g()\nb.py:2 in g: h()",
}


def result_of(*verdicts: Verdict) -> RecipeResult:
    return RecipeResult("port", "one", "a title", verdicts, 3, 1.25, 2, ("printed much",))


def reread(result: RecipeResult) -> RecipeResult:
    return result_from_json(json.loads(json.dumps(result_to_json(result), allow_nan=False)))


@pytest.mark.parametrize("more", [{}, FULL, {"error": math.inf, "allowed": -math.inf}])
def test_what_is_written_is_read_again(more: dict[str, Any]) -> None:
    given = {"word": "error"} | more
    result = result_of(Verdict(1, "next", "float32", 0, "y", "parity", **given))

    assert reread(result) == result


def test_nan_is_read_again() -> None:
    result = result_of(Verdict(1, "next", "float32", 0, "y", "finite", "fail", error=math.nan))

    (verdict,) = reread(result).verdicts

    assert verdict.error is not None
    assert math.isnan(verdict.error)


def test_empty_texts_are_null() -> None:
    row = verdict_to_json(Verdict(0, "upstream", "", 0, "", "", "error"))

    assert {name for name, value in row.items() if value is None} == {
        "dtype", "output", "claim", "measure", "error", "allowed", "noise", "detail", "stderr",
        "frames", "narrow", "contract", "claim_key", "known_wrong",
    }  # fmt: skip


@pytest.mark.parametrize("row", [{}, {"port": "p"}, {"port": "p", "verdicts": [1]}])
def test_anything_else_is_an_error(row: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        result_from_json(row)
