"""Read recorded activations: those of a run, and the ops of a part of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from porter.verify.harness.activations import MOMENTS, OPS
from porter.verify.harness.events import read_lines
from porter.verify.harness.tensor_digest import VALUES, read_values


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

    def around(self, number: int) -> Activation | None:
        """Return the beginning of the call that contains an activation; None outside any module."""
        activation = self.activations[number]
        for other in reversed(self.activations[:number]):
            if other.kind == "in" and other.depth == activation.depth - 1:
                return other
        return None


def read_timeline(folder: Path, warnings: tuple[str, ...] = ()) -> Timeline:
    """Return what a run with ``activations`` left in its trace's folder."""
    values = read_values(folder / VALUES)

    def samples(rows: list[dict[str, Any]]) -> tuple[TensorSample, ...]:
        return tuple(read_sample(row, values) for row in rows)

    activations = tuple(
        Activation(
            number=row.pop("moment"),
            class_name=row.pop("class"),
            tensors=samples(row.pop("tensors")),
            **row,
        )
        for row in read_lines(folder / MOMENTS)
    )
    ops = tuple(
        Op(
            number=row.pop("op"),
            activation=row.pop("moment"),
            inputs=samples(row.pop("inputs")),
            outputs=samples(row.pop("outputs")),
            **row,
        )
        for row in read_lines(folder / OPS)
    )
    return Timeline(activations, ops, warnings)


def read_sample(row: dict[str, Any], values: torch.Tensor) -> TensorSample:
    """Return a row of :func:`~porter.verify.harness.tensor_digest.sample_tensor` with its values,
    which are among ``values``."""
    shape, at = tuple(row.pop("shape")), row.pop("at")
    kept = values[at[0] : sum(at)] if at is not None else None
    return TensorSample(shape=shape, values=kept, **row)
