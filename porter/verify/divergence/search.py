"""Search for a divergence: runs that record module activations, then runs that record ops.

The caller makes the runs: :func:`search` requests them by side ("first", "second", "exact") and by
what they record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from porter.verify.divergence.first import (
    Compared,
    OpDivergence,
    Search,
    agreeing,
    compare,
    find_activation,
    find_op,
    window,
)
from porter.verify.divergence.timeline import Timeline
from porter.verify.divergence.tolerance import Allowance
from porter.verify.harness.tensor_digest import SAMPLE

SIDES = ("first", "second", "exact")
_WIDE_SAMPLE = 256

MakeRun = Callable[[str, str], Timeline | None]
"""Makes the run of a side, recording what the job's ``activations`` ask for; None when there can be
no exact run."""


@dataclass(frozen=True)
class Found:
    """The result of a search. ``op`` is None when every recorded op agrees; ``wide``: the search
    went back to the run's beginning, since the operands of the first op had diverged already."""

    runs: Compared
    activations: Search
    op: OpDivergence | None = None
    ops: int = 0
    wide: bool = False


def search(make: MakeRun, rule: Allowance, *, exact: bool, sample: int = SAMPLE) -> Found:
    """Find the first module whose output diverges, and the op.

    ``exact``: run the first side in float64 too. ``sample``: elements kept of a tensor.
    """
    request = {side: {"kind": "modules", "sample": sample} for side in SIDES[: 3 if exact else 2]}
    runs = _compare(make, request, rule)
    activations = find_activation(runs)
    if activations.divergence is None:
        return Found(runs, activations)
    windows = window(runs, activations.divergence)
    near = _compare(make, _ops(windows, sample), rule)
    agreed = agreeing(runs)
    op = find_op(near, agreed)
    if op is not None and op.operands_agree:
        return Found(runs, activations, op, len(near.second.ops))
    whole = {side: (-1, until) for side, (_, until) in windows.items()}
    far = _compare(make, _ops(whole, min(sample, _WIDE_SAMPLE)), rule)
    earlier = find_op(far, agreed)
    if earlier is None:
        return Found(runs, activations, op, len(near.second.ops))
    return Found(runs, activations, earlier, len(far.second.ops), wide=True)


def _ops(windows: Mapping[str, tuple[int, int]], sample: int) -> dict[str, dict[str, object]]:
    return {
        side: {"kind": "ops", "after": after, "until": until, "sample": sample}
        for side, (after, until) in windows.items()
    }


def _compare(
    make: MakeRun, request: Mapping[str, Mapping[str, object]], rule: Allowance
) -> Compared:
    runs = {side: make(side, json.dumps(what)) for side, what in request.items()}
    first, second = runs["first"], runs["second"]
    assert first is not None
    assert second is not None
    return compare(first, second, runs.get("exact"), rule)
