"""Fused kernels as operators: their schemas on every PyTorch that porter runs on."""

from __future__ import annotations

import inspect
import typing

import torch

from porter.device.sim.vendors.fused_ops import _with_typing_lists


def _composed(
    x: torch.Tensor,
    others: list[torch.Tensor],
    dims: list[int] | None = None,
    *,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    raise NotImplementedError


def test_the_schema_is_the_same_with_typing_lists() -> None:
    expected = (
        "(Tensor x, Tensor[] others, SymInt[]? dims=None, *, float? scale=None) -> (Tensor, Tensor)"
    )
    schema = torch.library.infer_schema(_with_typing_lists(_composed), mutates_args=())
    assert schema == torch.library.infer_schema(_composed, mutates_args=()) == expected


def test_pytorch_2_5_can_read_the_annotations() -> None:
    """Its ``infer_schema`` knows those of ``typing`` alone."""
    parameters = inspect.signature(_with_typing_lists(_composed)).parameters
    assert parameters["others"].annotation == typing.List[torch.Tensor]  # noqa: UP006
    assert parameters["dims"].annotation == typing.Optional[typing.List[int]]  # noqa: UP006, UP045
