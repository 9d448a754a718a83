"""Searching for a departure: runs with module activations, then runs with ops where it pays.

The runs themselves are made by whoever calls: :func:`search` asks for them by their side ("first",
"second", "exact") and by what is to be recorded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from porter.verify.divergence.first import (
    Compared,
    OpDeparture,
    Search,
    agreeing,
    compare,
    find_moment,
    find_op,
    window,
)
from porter.verify.divergence.timeline import Timeline
from porter.verify.divergence.tolerance import Allowance
from porter.verify.harness.tensor_digest import SAMPLE

SIDES = ("first", "second", "exact")
_WIDE_SAMPLE = 256

MakeRun = Callable[[str, str], Timeline | None]
"""Makes the run of a side with what a job's ``activations`` say; None for an exact run that
cannot be had."""


@dataclass(frozen=True)
class Found:
    """What a search came to. ``op`` is None when every recorded op agrees; ``wide``: it was looked
    for from the run's beginning, since the operands of the first one departed already."""

    runs: Compared
    moments: Search
    op: OpDeparture | None = None
    ops: int = 0
    wide: bool = False


def search(make: MakeRun, rule: Allowance, *, exact: bool, sample: int = SAMPLE) -> Found:
    """Find the first module whose output departs, and the op.

    ``exact``: ask for the first side in float64 too. ``sample``: elements kept of a tensor.
    """
    asked = {side: {"kind": "modules", "sample": sample} for side in SIDES[: 3 if exact else 2]}
    runs = _compare(make, asked, rule)
    moments = find_moment(runs)
    if moments.departure is None:
        return Found(runs, moments)
    windows = window(runs, moments.departure)
    near = _compare(make, _ops(windows, sample), rule)
    agreed = agreeing(runs)
    op = find_op(near, agreed)
    if op is not None and op.operands_agree:
        return Found(runs, moments, op, len(near.second.ops))
    whole = {side: (-1, until) for side, (_, until) in windows.items()}
    far = _compare(make, _ops(whole, min(sample, _WIDE_SAMPLE)), rule)
    earlier = find_op(far, agreed)
    if earlier is None:
        return Found(runs, moments, op, len(near.second.ops))
    return Found(runs, moments, earlier, len(far.second.ops), wide=True)


def _ops(windows: Mapping[str, tuple[int, int]], sample: int) -> dict[str, dict[str, object]]:
    return {
        side: {"kind": "ops", "after": after, "until": until, "sample": sample}
        for side, (after, until) in windows.items()
    }


def _compare(make: MakeRun, asked: Mapping[str, Mapping[str, object]], rule: Allowance) -> Compared:
    runs = {side: make(side, json.dumps(what)) for side, what in asked.items()}
    first, second = runs["first"], runs["second"]
    assert first is not None
    assert second is not None
    return compare(first, second, runs.get("exact"), rule)
