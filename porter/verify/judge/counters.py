"""Judge counters: whole numbers that are the same on every machine, so their bounds are exact.

A claim names counters by a pattern and applies to each that matches. ``c`` is the counter's value
in the judged run, ``o`` in the run that ``less_than`` names:

- ``at_most`` N: c <= N;  ``at_least`` N: c >= N;  ``equal`` N: c == N
- ``less_than`` with factor F: c < o and F * c <= o
- ``independent_of`` X: c is the same in every variant that differs in X alone; the most and the
  least of them are shown

Compilations, kernel launches and CPU fallbacks are at most as many as the ops that were dispatched
or replayed from a graph. A claim whose bound is not below that number is vacuous: it could not
fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from porter.verify.judge.result import Outcome, names_text, vacuous, whole_text
from porter.verify.recipe.claims import Claim
from porter.verify.recipe.schema import is_simulated

MEASURE = "count"
_BELOW_OPS = ("compilations", "kernels", "cpu_fallback")

Counters = Mapping[str, float]


def matching(claim: Claim, counters: Counters) -> list[str]:
    """Return the sorted names of the counters that a claim matches."""
    return sorted(name for name in counters if claim.names(name))


def nothing_matches(claim: Claim, counters: Counters, device: str) -> str:
    """Return the error of a claim that matches no counter of a run, with those there are."""
    text = f"no counter of this name; counted: {names_text(claim.pattern, counters) or 'none'}"
    if not counters and not is_simulated(device):
        text += f" ({device} counts nothing by itself: a simulated device does, or the probe)"
    return text


def not_counted_on(device: str) -> str:
    """Return why a claim on counters is not judged on a card."""
    return f"not judged: {device} counts nothing by itself; sim:{device} does"


def judge_counter(claim: Claim, name: str, counters: Counters, other: Counters | None) -> Outcome:
    """Judge one counter; ``other`` are the counters of the run that the claim compares with."""
    value = counters[name]
    if claim.at_most is not None:
        ops = _ops_of(name, counters)
        if ops is not None and claim.at_most >= ops:
            return vacuous(f"could not fail: {whole_text(ops)} ops were run in all")
        return Outcome(value <= claim.at_most, MEASURE, value, claim.at_most)
    if claim.at_least is not None:
        return Outcome(value >= claim.at_least, MEASURE, value, claim.at_least, lower=True)
    if claim.less_than is not None:
        return _less_than(claim.less_than.factor, name, value, other)
    assert isinstance(claim.equal, float | int)
    return Outcome(value == claim.equal, MEASURE, value, claim.equal)


def _less_than(factor: float, name: str, value: float, other: Counters | None) -> Outcome:
    if other is None:
        return vacuous("the run to compare with failed")
    if name not in other:
        return vacuous("the run to compare with does not count it")
    there = other[name]
    if there == 0:
        return vacuous("could not hold: the run to compare with counts 0")
    held = value < there and factor * value <= there
    detail = "" if held else f"expected less than {whole_text(there)}"
    if not held and factor > 1:
        detail = f"expected {factor:g} times less than {whole_text(there)}"
    return Outcome(held, MEASURE, value, _most_below(there, value, factor), detail)


def _most_below(there: float, value: float, factor: float) -> float:
    """Return the most that a counter may be; of whole numbers the greatest whole one."""
    if there != int(there) or value != int(value):
        return there / factor
    return min(there // factor, there - 1)


def _ops_of(name: str, counters: Counters) -> float | None:
    """Return the number of ops in a counter's section, where that bounds the counter."""
    region, _, last = name.rpartition("/")
    prefix = f"{region}/" if region else ""
    if last not in _BELOW_OPS or f"{prefix}ops" not in counters:
        return None
    return counters[f"{prefix}ops"] + counters.get(f"{prefix}replayed_ops", 0)


def judge_independence(name: str, values: Sequence[tuple[str, float]], varied: str) -> Outcome:
    """Judge whether a counter is the same for every value (as text) of what is varied."""
    least, most = min(number for _, number in values), max(number for _, number in values)
    listed = ", ".join(f"{text}: {whole_text(number)}" for text, number in values)
    detail = "" if least == most else f"{name} by {varied}: {listed}"
    return Outcome(least == most, MEASURE, most, least, detail)
