"""What a capture records of an op, and groups of ops that take new operands between replays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from porter.device.sim.core.dispatch import Run, Watch
from porter.device.sim.core.machine import Machine
from porter.device.sim.core.op_schema import OpFacts

UNFILLED = ("aten.empty", "aten.empty_like", "aten.empty_strided", "aten.new_empty",
             "aten.new_empty_strided")  # fmt: skip


class CaptureRefused(RuntimeError):
    """A program did something during a capture that the vendor documents as not capturable."""


@dataclass(frozen=True, slots=True)
class Record:
    """One captured op: what to call, its operands, and its results (the static buffers)."""

    facts: OpFacts
    call: Run
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any


def replay_operands(args: Any) -> tuple[Any, ...]:
    """Return the operands for replays: the value of a 0-dim CPU tensor is fixed now."""
    return tuple(
        arg.clone() if type(arg) is torch.Tensor and not arg.dim() else arg for arg in args
    )


def _write_back(out: Any, new: Any) -> None:
    if isinstance(out, torch.Tensor):
        out.copy_(new)
    elif isinstance(out, (tuple, list)):
        for old, fresh in zip(out, new, strict=True):
            _write_back(old, fresh)


def step_of(record: Record) -> Callable[[], None] | None:
    """Return what a replay does for one op; None for a view, which shares its base's memory."""
    facts, call, args, kwargs, out = (
        record.facts, record.call, record.args, record.kwargs, record.out,
    )  # fmt: skip
    if facts.is_view or facts.packet in UNFILLED:
        return None
    if all(kind in ("written", "value") for kind in facts.returns_tensors):
        return lambda: call(args, kwargs)
    if isinstance(out, torch.Tensor):
        into = torch.Tensor.detach(out)

        def run_one() -> None:
            into.copy_(call(args, kwargs))

        return run_one

    def run_several() -> None:
        _write_back(out, call(args, kwargs))

    return run_several


@dataclass(eq=False)
class TaskGroup:
    """Captured ops whose operands can be given again between replays (Ascend).

    An op that runs between :meth:`begin_update` and :meth:`end_update` replaces the one at its
    place of the group. Here it runs as well; on the card it is only recorded.
    """

    places: list[int] = field(default_factory=list)
    """The group's ops, by their place in the capture."""
    records: list[Record] = field(default_factory=list)
    _machine: Machine | None = None
    _at: int = 0

    def begin_update(self, machine: Machine) -> None:
        """Take the ops that follow."""
        self._machine, self._at = machine, 0
        machine.observe(self)

    def end_update(self) -> None:
        """Stop. Raises CaptureRefused if fewer ops ran than the group has."""
        if self._machine is not None:
            self._machine.unobserve(self)
        self._machine = None
        if self._at != len(self.records):
            raise CaptureRefused(
                f"graph task update: {self._at} ops ran, the group has {len(self.records)}"
            )

    def watch(self, op: OpFacts) -> Watch:
        """Replace the record at the place that is next."""

        def after(args: Any, kwargs: Any, out: Any) -> None:
            del out
            known = self.records[self._at] if self._at < len(self.records) else None
            if known is None or known.facts.op is not op.op:
                expected = "no more op" if known is None else known.facts.name
                raise CaptureRefused(
                    f"graph task update: {op.name} ran where the group has {expected}"
                )
            self.records[self._at] = replace(
                known, args=replay_operands(args), kwargs=dict(kwargs or {})
            )
            self._at += 1

        return Watch(after=after)

    def steps(self, records: list[Record]) -> dict[int, Callable[[], None]]:
        """Return what a replay does at each place: the record that stands there then."""
        self.records = [records[place] for place in self.places]
        return {
            place: functools.partial(self._run, number) for number, place in enumerate(self.places)
        }

    def _run(self, number: int) -> None:
        step = step_of(self.records[number])
        if step is not None:
            step()
