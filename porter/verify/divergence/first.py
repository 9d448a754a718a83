"""The first place where one run departs from another beyond rounding: a moment, then an op.

Moments are gone through in the second run's order. A call's parts end before it does and a call's
inputs are a moment of their own, so everything before the first that departs agrees, and the fault
is in the code that ran between the two: that of the call which both are in.

Ops between the two are then gone through in the same way. An op whose result departs though its
operands agree is the place; so is one that takes other operands, correct in themselves, than its
counterpart. Ops that only one run has, just before the first that departs, are suspects and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from porter.verify.divergence.align import Alignment, align, align_ops
from porter.verify.divergence.timeline import Activation, Op, TensorSample, Timeline
from porter.verify.divergence.tolerance import Allowance, Difference, difference, differences

_UNWRITTEN = ("aten.empty", "aten.new_empty", "aten.resize_")
"""Ops whose results are whatever the memory held."""


@dataclass(frozen=True)
class Compared:
    """The runs held to each other; ``exact`` is the first in float64, if there is one."""

    first: Timeline
    second: Timeline
    exact: Timeline | None
    rule: Allowance
    alignment: Alignment
    to_exact: Mapping[int, int]
    """Moment of the first run -> moment of the exact one."""

    def of(self, moment: Activation) -> list[Difference]:
        """Compare a moment of the second run with its counterpart; nothing without one."""
        place = self.alignment.pairs.get(moment.number)
        if place is None:
            return []
        exact = None
        if self.exact is not None and place in self.to_exact:
            exact = self.exact.moments[self.to_exact[place]].tensors
        first = self.first.moments[place].tensors
        return differences(first, moment.tensors, exact, self.rule)


@dataclass(frozen=True)
class Divergence:
    """The first moment that departs: ``moment`` of the second run, ``counterpart`` of the first.

    ``inside`` is the call whose own code is at fault (None: code outside any module), ``before``
    the last aligned moment, which agrees. ``share`` of later moments tells how the error goes on.
    """

    moment: Activation
    counterpart: Activation
    differences: tuple[Difference, ...]
    inside: Activation | None
    before: int
    jump: tuple[Activation, float] | None


@dataclass(frozen=True)
class Search:
    """What going through the moments came to. ``unseen``: tensors that differ only in elements
    that were not kept; ``shapes``: aligned tensors whose shapes differ; ``compared``: moments."""

    departure: Divergence | None
    compared: int
    unseen: int
    shapes: int


@dataclass(frozen=True)
class Operand:
    """An input of the op that departs, in words that say whether it agrees."""

    name: str
    agrees: bool
    told: str
    error: float
    allowed: float


@dataclass(frozen=True)
class OpDeparture:
    """The first op whose result departs. ``counterpart`` is the first run's op, if aligned.

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


def compare(first: Timeline, second: Timeline, exact: Timeline | None, rule: Allowance) -> Compared:
    """Align the runs."""
    to_exact: dict[int, int] = {}
    if exact is not None:
        pairs = align(first.moments, exact.moments).pairs
        to_exact = {of_first: of_exact for of_exact, of_first in pairs.items()}
    alignment = align(first.moments, second.moments)
    return Compared(first, second, exact, rule, alignment, to_exact)


def find_moment(runs: Compared) -> Search:
    """Find the first moment that departs.

    Shapes that differ are passed over (a level may pad or split a batch) unless no value departs
    and a recorded output has another shape.
    """
    first_bad: tuple[Activation, list[Difference]] | None = None
    misshapen: tuple[Activation, list[Difference]] | None = None
    compared = unseen = shapes = 0
    output_misshapen = False
    jump: tuple[Activation, float] | None = None
    before_bad, before_misshapen, last = -1, -1, -1
    share = 1.0
    for moment in runs.second.moments:
        found = runs.of(moment)
        if moment.number not in runs.alignment.pairs:
            continue
        compared += 1
        unseen += sum(each.unseen for each in found)
        in_shape = [each for each in found if each.departs and each.measure == "shape"]
        shapes += len(in_shape)
        if in_shape:
            output_misshapen = output_misshapen or moment.kind == "record"
            if misshapen is None:
                misshapen, before_misshapen = (moment, in_shape), last
        bad = [each for each in found if each.departs and each.measure != "shape"]
        if bad and first_bad is None:
            first_bad, before_bad = (moment, bad), last
        if bad:
            now = max(each.share for each in bad)
            if first_bad is not None and moment is not first_bad[0] and now > 8 * share:
                jump = (moment, now)
            share = max(share, now)
        last = moment.number
    if first_bad is None and output_misshapen:
        first_bad, before_bad = misshapen, before_misshapen
    departure = None
    if first_bad is not None:
        moment, bad = first_bad
        departure = Divergence(
            moment=moment,
            counterpart=runs.first.moments[runs.alignment.pairs[moment.number]],
            differences=tuple(bad),
            inside=_inside(runs.second, moment),
            before=before_bad,
            jump=jump,
        )
    return Search(departure, compared, unseen, shapes)


def _inside(run: Timeline, moment: Activation) -> Activation | None:
    """Return the beginning of the call whose own code ran just before a moment."""
    if moment.kind == "out":
        for other in reversed(run.moments[: moment.number]):
            if other.kind == "in" and (other.path, other.call) == (moment.path, moment.call):
                return other
    return run.around(moment.number)


def agreeing(runs: Compared) -> dict[str, str]:
    """Return the second run's tensors that agree at some moment: digest -> what it is, in words."""
    found: dict[str, str] = {}
    for moment in runs.second.moments:
        words = {"in": "an input of", "out": "the output of", "record": "the output"}[moment.kind]
        for seen, each in zip(moment.tensors, runs.of(moment), strict=False):
            if not each.departs:
                found.setdefault(seen.digest, f"{words} {moment.path}")
    return found


def find_op(runs: Compared, agreed: Mapping[str, str]) -> OpDeparture | None:
    """Find the first op that departs, in runs that recorded ops; None when all agree.

    ``agreed`` is :func:`agreeing` of the same runs with all moments recorded.
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
        place = pairs.get(op.number)
        if place is None or op.name.startswith(_UNWRITTEN):
            continue
        counterpart = runs.first.ops[place]
        exact = None
        if runs.exact is not None and place in exact_of:
            exact = runs.exact.ops[exact_of[place]]
        found = differences(
            counterpart.outputs, op.outputs, exact.outputs if exact else None, runs.rule
        )
        bad = tuple(each for each in found if each.departs)
        if not bad:
            since = op.number + 1
            for seen in op.outputs:
                correct.setdefault(seen.digest, f"the result of {op.name} at {op.site}")
            continue
        operands = tuple(
            _operand(number, op, counterpart, exact, correct, runs.rule)
            for number in range(len(op.inputs))
        )
        only_second = tuple(o for o in runs.second.ops[since : op.number] if o.number not in pairs)
        aligned = set(pairs.values())
        start = max((pairs[o] for o in range(since) if o in pairs), default=-1) + 1
        only_first = tuple(o for o in runs.first.ops[start:place] if o.number not in aligned)
        fine = all(operand.agrees for operand in operands) or bool(only_second)
        return OpDeparture(op, counterpart, bad, operands, only_first, only_second, fine)
    return _only_new_ops(runs, pairs)


def _only_new_ops(runs: Compared, pairs: Mapping[int, int]) -> OpDeparture | None:
    """Return the ops that only the second run has, when all that are aligned agree."""
    new = tuple(op for op in runs.second.ops if op.number not in pairs)
    aligned = set(pairs.values())
    gone = tuple(op for op in runs.first.ops if op.number not in aligned)
    if not new:
        return None
    return OpDeparture(new[0], None, (), (), gone, new, operands_agree=True)


def _operand(
    number: int,
    op: Op,
    counterpart: Op,
    exact: Op | None,
    correct: Mapping[str, str],
    rule: Allowance,
) -> Operand:
    """Say of an operand whether it agrees, or is another correct value than its counterpart."""
    seen, name = op.inputs[number], f"%{number}"
    others = counterpart.inputs
    if number >= len(others):
        return Operand(name, True, "the counterpart has no such operand", 0.0, 0.0)
    own = difference(others[number], seen, _at(exact, number), rule)
    if not own.departs:
        return Operand(name, True, "agrees", own.error, own.allowed)
    for place, other in enumerate(others):
        if place != number and other.shape == seen.shape:
            swapped = difference(other, seen, _at(exact, place), rule)
            if not swapped.departs:
                told = f"is the counterpart's %{place}"
                return Operand(name, True, told, own.error, own.allowed)
    if seen.digest in correct:
        told = f"another value than the counterpart's: {correct[seen.digest]}"
        return Operand(name, True, told, own.error, own.allowed)
    return Operand(name, False, "departs already", own.error, own.allowed)


def _at(op: Op | None, number: int) -> TensorSample | None:
    return op.inputs[number] if op is not None and number < len(op.inputs) else None


def window(runs: Compared, departure: Divergence) -> dict[str, tuple[int, int]]:
    """Return, for each run, the moments between which ops are to be recorded."""
    found = {"second": (departure.before, departure.moment.number)}
    before = runs.alignment.pairs.get(departure.before, -1)
    until = departure.counterpart.number
    found["first"] = (before if before < until else -1, until)
    if runs.exact is not None and until in runs.to_exact:
        exact_before = runs.to_exact.get(before, -1)
        exact_until = runs.to_exact[until]
        found["exact"] = (exact_before if exact_before < exact_until else -1, exact_until)
    return found


def several(ops: Sequence[Op], most: int = 5) -> tuple[Op, ...]:
    """Return the first few ops that compute something, for showing."""
    return tuple(op for op in ops if op.outputs)[:most]
