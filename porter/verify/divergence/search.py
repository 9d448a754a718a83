"""Find where one run first diverges from another beyond rounding: an activation, then an op.

Activations are compared in the second run's order. A call's parts end before it does, and a call's
inputs are an activation of their own, so all activations before the first that diverges agree, and
the fault is in the code between the two: that of the call that contains both.

Ops between the two are then compared in the same way. The fault is at an op whose result diverges
though its operands agree, or which takes other operands, correct in themselves, than its
counterpart. Ops that only one run has, just before the first that diverges, are listed as suspects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from porter.verify.divergence.timeline import (
    Activation,
    Alignment,
    Op,
    TensorSample,
    Timeline,
    align,
    align_ops,
)
from porter.verify.divergence.tolerance import Allowance, Difference, difference, differences
from porter.verify.harness.activations import SAMPLE

_UNWRITTEN = ("aten.empty", "aten.new_empty", "aten.resize_")
"""Ops whose results are uninitialised memory."""

_WORDS = {"in": "an input of", "out": "the output of", "record": "the output"}

SIDES = ("first", "second", "exact")
_WIDE_SAMPLE = 256

MakeRun = Callable[[str, str], Timeline | None]
"""Makes the run of a side, recording what the job's ``activations`` ask for; None when there can be
no exact run."""


@dataclass(frozen=True)
class Compared:
    """Two aligned runs; ``exact`` is the first in float64, if there is one."""

    first: Timeline
    second: Timeline
    exact: Timeline | None
    rule: Allowance
    alignment: Alignment
    to_exact: Mapping[int, int]
    """Activation of the first run -> of the exact one."""

    def of(self, activation: Activation) -> list[Difference]:
        """Compare an activation of the second run with its counterpart; [] without one."""
        index = self.alignment.pairs.get(activation.number)
        if index is None:
            return []
        exact = None
        if self.exact is not None and index in self.to_exact:
            exact = self.exact.activations[self.to_exact[index]].tensors
        first = self.first.activations[index].tensors
        return differences(first, activation.tensors, exact, self.rule)


@dataclass(frozen=True)
class Divergence:
    """The first activation that diverges: of the second run, and its ``counterpart`` of the first.

    ``inside`` is the call whose own code is at fault (None: code outside any module), ``before``
    the last aligned activation, which agrees; ``jump`` a later one at which the error grows most.
    """

    activation: Activation
    counterpart: Activation
    differences: tuple[Difference, ...]
    inside: Activation | None
    before: int
    jump: tuple[Activation, float] | None


@dataclass(frozen=True)
class ActivationSearch:
    """The result of comparing activations, of which there were ``compared``.

    ``unseen``: tensors that differ only in elements that were not kept; ``shapes``: aligned tensors
    whose shapes differ.
    """

    divergence: Divergence | None
    compared: int
    unseen: int
    shapes: int


@dataclass(frozen=True)
class Operand:
    """An input of the op that diverges; ``text`` says in words whether it agrees."""

    name: str
    agrees: bool
    text: str
    error: float
    allowed: float


@dataclass(frozen=True)
class OpDivergence:
    """The first op whose result diverges. ``counterpart`` is the first run's op, if aligned.

    ``only_first`` and ``only_second`` are unaligned ops between the last op that agrees and this
    one. ``operands_agree`` is False when the fault lies before what was recorded.
    """

    op: Op
    counterpart: Op | None
    differences: tuple[Difference, ...]
    operands: tuple[Operand, ...]
    only_first: tuple[Op, ...]
    only_second: tuple[Op, ...]
    operands_agree: bool


@dataclass(frozen=True)
class Found:
    """The result of a search. ``op`` is None when every recorded op agrees; ``wide``: the search
    went back to the run's beginning, since the operands of the first op had diverged already."""

    runs: Compared
    activations: ActivationSearch
    op: OpDivergence | None = None
    ops: int = 0
    wide: bool = False


def find_activation(runs: Compared) -> ActivationSearch:
    """Find the first activation that diverges.

    Differing shapes are ignored (a level may pad or split a batch), unless no value diverges and a
    recorded output has another shape.
    """
    aligned = [a for a in runs.second.activations if a.number in runs.alignment.pairs]
    found = [runs.of(activation) for activation in aligned]
    values = [[d for d in each if d.diverges and d.measure != "shape"] for each in found]
    shapes = [[d for d in each if d.diverges and d.measure == "shape"] for each in found]
    bad = values
    if not any(values) and any(
        each and activation.kind == "record"
        for activation, each in zip(aligned, shapes, strict=True)
    ):
        bad = shapes
    divergence = None
    for index, (activation, several) in enumerate(zip(aligned, bad, strict=True)):
        if several:
            divergence = Divergence(
                activation=activation,
                counterpart=runs.first.activations[runs.alignment.pairs[activation.number]],
                differences=tuple(several),
                inside=_inside(runs.second, activation),
                before=aligned[index - 1].number if index else -1,
                jump=_jump(aligned, values),
            )
            break
    unseen = sum(each.unseen for several in found for each in several)
    return ActivationSearch(divergence, len(aligned), unseen, sum(map(len, shapes)))


def _jump(
    aligned: Sequence[Activation], values: Sequence[Sequence[Difference]]
) -> tuple[Activation, float] | None:
    """Return the last activation at which the error is far above all earlier ones, and its size."""
    jump, share = None, 0.0
    for activation, several in zip(aligned, values, strict=True):
        if several:
            now = max(each.share for each in several)
            if share and now > 8 * share:
                jump = activation, now
            share = max(share, now, 1.0)
    return jump


def _inside(run: Timeline, activation: Activation) -> Activation | None:
    """Return the beginning of the call whose own code ran just before an activation."""
    depth = activation.depth - (activation.kind != "out")
    before = reversed(run.activations[: activation.number])
    return next((each for each in before if each.kind == "in" and each.depth == depth), None)


def agreeing(runs: Compared) -> dict[str, str]:
    """Return the second run's tensors that agree: digest -> what the tensor is, in words."""
    found: dict[str, str] = {}
    for activation in runs.second.activations:
        words = _WORDS[activation.kind]
        for sample, each in zip(activation.tensors, runs.of(activation), strict=False):
            if not each.diverges:
                found.setdefault(sample.digest, f"{words} {activation.path}")
    return found


def find_op(runs: Compared, agreed: Mapping[str, str]) -> OpDivergence | None:
    """Find the first op that diverges, in runs that recorded ops; None when all agree.

    ``agreed`` is :func:`agreeing` of the same runs with all activations recorded.
    """
    pairs = align_ops(runs.first.ops, runs.second.ops, runs.alignment)
    exact_of: dict[int, int] = {}
    if runs.exact is not None:
        back = {of_exact: of_first for of_first, of_exact in runs.to_exact.items()}
        exact_pairs = align_ops(runs.first.ops, runs.exact.ops, Alignment(back))
        exact_of = {of_first: of_exact for of_exact, of_first in exact_pairs.items()}
    correct = dict(agreed)
    since = 0
    for op in runs.second.ops:
        index = pairs.get(op.number)
        if index is None or op.name.startswith(_UNWRITTEN):
            continue
        counterpart = runs.first.ops[index]
        exact = None
        if runs.exact is not None and index in exact_of:
            exact = runs.exact.ops[exact_of[index]]
        found = differences(
            counterpart.outputs, op.outputs, exact.outputs if exact else None, runs.rule
        )
        bad = tuple(each for each in found if each.diverges)
        if not bad:
            since = op.number + 1
            for sample in op.outputs:
                correct.setdefault(sample.digest, f"the result of {op.name} at {op.site}")
            continue
        operands = tuple(
            _operand(number, op, counterpart, exact, correct, runs.rule)
            for number in range(len(op.inputs))
        )
        only_second = tuple(o for o in runs.second.ops[since : op.number] if o.number not in pairs)
        aligned = set(pairs.values())
        start = max((pairs[o] for o in range(since) if o in pairs), default=-1) + 1
        only_first = tuple(o for o in runs.first.ops[start:index] if o.number not in aligned)
        fine = all(operand.agrees for operand in operands) or bool(only_second)
        return OpDivergence(op, counterpart, bad, operands, only_first, only_second, fine)
    return _only_new_ops(runs, pairs)


def _only_new_ops(runs: Compared, pairs: Mapping[int, int]) -> OpDivergence | None:
    """Return the ops that only the second run has, when all that are aligned agree."""
    new = tuple(op for op in runs.second.ops if op.number not in pairs)
    aligned = set(pairs.values())
    gone = tuple(op for op in runs.first.ops if op.number not in aligned)
    if not new:
        return None
    return OpDivergence(new[0], None, (), (), gone, new, operands_agree=True)


def _operand(
    number: int,
    op: Op,
    counterpart: Op,
    exact: Op | None,
    correct: Mapping[str, str],
    rule: Allowance,
) -> Operand:
    """Return whether an operand agrees, or is another correct value than its counterpart."""
    sample, name = op.inputs[number], f"%{number}"
    others = counterpart.inputs
    if number >= len(others):
        return Operand(name, True, "the counterpart has no such operand", 0.0, 0.0)
    own = difference(others[number], sample, _at(exact, number), rule)
    if not own.diverges:
        return Operand(name, True, "agrees", own.error, own.allowed)
    for index, other in enumerate(others):
        if index != number and other.shape == sample.shape:
            swapped = difference(other, sample, _at(exact, index), rule)
            if not swapped.diverges:
                text = f"is the counterpart's %{index}"
                return Operand(name, True, text, own.error, own.allowed)
    if sample.digest in correct:
        text = f"another value than the counterpart's: {correct[sample.digest]}"
        return Operand(name, True, text, own.error, own.allowed)
    return Operand(name, False, "departs already", own.error, own.allowed)


def _at(op: Op | None, number: int) -> TensorSample | None:
    return op.inputs[number] if op is not None and number < len(op.inputs) else None


def window(runs: Compared, divergence: Divergence) -> dict[str, tuple[int, int]]:
    """Return, for each run, the activations between which ops are to be recorded."""
    found = {"second": (divergence.before, divergence.activation.number)}
    before = runs.alignment.pairs.get(divergence.before, -1)
    until = divergence.counterpart.number
    found["first"] = (before if before < until else -1, until)
    if runs.exact is not None and until in runs.to_exact:
        exact_before = runs.to_exact.get(before, -1)
        exact_until = runs.to_exact[until]
        found["exact"] = (exact_before if exact_before < exact_until else -1, exact_until)
    return found


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
    """Make the runs of ``request`` and align them."""
    runs = {side: make(side, json.dumps(what)) for side, what in request.items()}
    first, second = runs["first"], runs["second"]
    assert first is not None
    assert second is not None
    exact = runs.get("exact")
    to_exact: dict[int, int] = {}
    if exact is not None:
        pairs = align(first.activations, exact.activations).pairs
        to_exact = {of_first: of_exact for of_exact, of_first in pairs.items()}
    alignment = align(first.activations, second.activations)
    return Compared(first, second, exact, rule, alignment, to_exact)
