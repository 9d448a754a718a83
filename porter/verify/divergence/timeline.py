"""Read recorded activations, and the ops of a part of a run; match those of two runs.

A level may have changed its modules. Calls with the same path and number match, whatever their
classes: a GroupNorm that became a LayerNorm keeps its path. Paths that only one run has are matched
in order, by class, number of calls and shapes: renamed modules. The rest is listed.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import torch

from porter.verify.harness.activations import MOMENTS, OPS, VALUES, read_values
from porter.verify.harness.events import read_lines


@dataclass(frozen=True)
class TensorSample:
    """A recorded tensor: ``values`` are every ``step``-th element (float64), or None."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    digest: str
    step: int
    values: torch.Tensor | None

    @property
    def shown(self) -> str:
        """Shape and dtype in the usual short form, as ``float32[2, 3]``."""
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True)
class Activation:
    """A call's begin ("in") or end ("out"), or a recorded output; see
    :mod:`porter.verify.harness.activations`."""

    number: int
    kind: str
    path: str
    class_name: str
    call: int
    depth: int
    site: str
    source: str
    tensors: tuple[TensorSample, ...]


@dataclass(frozen=True)
class Op:
    """One ATen op; ``activation`` is the number of the last one before it."""

    number: int
    activation: int
    name: str
    path: str
    site: str
    source: str
    arguments: str
    inputs: tuple[TensorSample, ...]
    outputs: tuple[TensorSample, ...]


@dataclass(frozen=True)
class Timeline:
    """Everything recorded of a run."""

    activations: tuple[Activation, ...]
    ops: tuple[Op, ...]
    warnings: tuple[str, ...] = ()


def read_timeline(folder: Path, warnings: tuple[str, ...] = ()) -> Timeline:
    """Return what a run with ``activations`` left in its trace's folder."""
    values = read_values(folder / VALUES)

    def samples(rows: list[dict[str, Any]]) -> tuple[TensorSample, ...]:
        return tuple(read_sample(row, values) for row in rows)

    activations = tuple(
        Activation(**row | {"tensors": samples(row["tensors"])})
        for row in read_lines(folder / MOMENTS)
    )
    ops = tuple(
        Op(**row | {key: samples(row[key]) for key in ("inputs", "outputs")})
        for row in read_lines(folder / OPS)
    )
    return Timeline(activations, ops, warnings)


def read_sample(row: dict[str, Any], values: torch.Tensor) -> TensorSample:
    """Return a row of :func:`~porter.verify.harness.activations.sample_tensor` with its values,
    which are among ``values``."""
    shape, at = tuple(row.pop("shape")), row.pop("at")
    kept = values[at[0] : sum(at)] if at is not None else None
    return TensorSample(shape=shape, values=kept, **row)


@dataclass(frozen=True)
class Alignment:
    """``pairs``: activation of the second run -> of the first; ``renamed``: path -> path.

    ``only_first`` and ``only_second`` are paths without counterpart; ``uneven`` those that were
    called more often in one run, with both numbers.
    """

    pairs: dict[int, int]
    renamed: dict[str, str] = field(default_factory=dict)
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()
    uneven: tuple[tuple[str, int, int], ...] = ()


@dataclass
class _Calls:
    """The calls of a path: what identifies it under another name."""

    class_name: str
    shapes: tuple[tuple[int, ...], ...] = ()
    number: int = 0

    @property
    def key(self) -> Hashable:
        return self.class_name, self.number, self.shapes


def align(first: Sequence[Activation], second: Sequence[Activation]) -> Alignment:
    """Match the activations of two runs."""
    calls_first, calls_second = _calls(first), _calls(second)
    alone_first = [path for path in calls_first if path not in calls_second]
    alone_second = [path for path in calls_second if path not in calls_first]
    renamed = {
        alone_second[in_second]: alone_first[in_first]
        for in_first, in_second in _matching(
            [calls_first[path].key for path in alone_first],
            [calls_second[path].key for path in alone_second],
        )
    }
    places = {
        (activation.kind, activation.path, activation.call): activation.number
        for activation in first
    }
    pairs = {}
    for activation in second:
        key = (activation.kind, renamed.get(activation.path, activation.path), activation.call)
        if key in places:
            pairs[activation.number] = places[key]
    uneven = tuple(
        (path, calls_first[renamed.get(path, path)].number, calls.number)
        for path, calls in calls_second.items()
        if (own := calls_first.get(renamed.get(path, path))) and own.number != calls.number
    )
    return Alignment(
        pairs=pairs,
        renamed=renamed,
        only_first=tuple(path for path in alone_first if path not in renamed.values()),
        only_second=tuple(path for path in alone_second if path not in renamed),
        uneven=uneven,
    )


def _calls(activations: Sequence[Activation]) -> dict[str, _Calls]:
    found: dict[str, _Calls] = {}
    for activation in activations:
        if activation.kind != "out":
            continue
        calls = found.setdefault(activation.path, _Calls(activation.class_name))
        if not calls.number:
            calls.shapes = tuple(sample.shape for sample in activation.tensors)
        calls.number += 1
    return found


def _matching(first: Sequence[Hashable], second: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Return (index in first, index in second) of the longest common subsequence's elements."""
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    return [(block.a + index, block.b + index) for block in blocks for index in range(block.size)]


def align_ops(first: Sequence[Op], second: Sequence[Op], alignment: Alignment) -> dict[int, int]:
    """Return op of the second run -> op of the first.

    Ops are matched by name and results' shapes between the same two aligned activations.
    """
    back = {of_first: of_second for of_second, of_first in alignment.pairs.items()}
    grouped_first = _grouped(first, back)
    grouped_second = _grouped(second, {number: number for number in alignment.pairs})
    pairs = {}
    for anchor, ops in grouped_second.items():
        others = grouped_first.get(anchor, [])
        for in_first, in_second in _matching(
            [_op_key(op) for op in others], [_op_key(op) for op in ops]
        ):
            pairs[ops[in_second].number] = others[in_first].number
    return pairs


def _op_key(op: Op) -> Hashable:
    return op.name, tuple(sample.shape for sample in op.outputs)


def _grouped(ops: Sequence[Op], anchors: dict[int, int]) -> dict[int, list[Op]]:
    """Group ops by the last aligned activation before them (-1: none), in the second run's
    numbers."""
    known = sorted(anchors)
    groups: dict[int, list[Op]] = {}
    at, last = 0, -1
    for op in ops:
        while at < len(known) and known[at] <= op.activation:
            last = anchors[known[at]]
            at += 1
        groups.setdefault(last, []).append(op)
    return groups
