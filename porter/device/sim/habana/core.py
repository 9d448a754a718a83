"""``habana_frameworks.torch.core``: ``mark_step``, and settings that change no result here."""

from __future__ import annotations

from typing import Any

import torch

from porter.device.sim.accounting.ledger import accounting_of


def mark_step(device_str: str = "", sync: bool = False) -> None:
    """End the accumulated graph: look it up, compile it if it is new, launch it.

    In eager mode (``PT_HPU_LAZY_MODE=0``, today's default) nothing accumulates and nothing happens.
    ``sync`` waits for the host side only, and changes nothing here.
    """
    del device_str, sync
    accounting = accounting_of("hpu")
    if accounting is not None:
        accounting.mark_step()


def hpu_set_env(mark_step: bool = True) -> None:
    """Prepare the environment for inference. Changes nothing in the simulation."""
    del mark_step


def hpu_set_inference_env() -> None:
    """Prepare the environment for inference. Changes nothing in the simulation."""


def hpu_teardown_inference_env() -> None:
    """Undo :func:`hpu_set_inference_env`."""


def hpu_inference_set_env() -> None:
    """The older name of :func:`hpu_set_inference_env`."""


def hpu_initialize(
    model: torch.nn.Module | None = None,
    mark_only_scales_as_const: bool = False,
    mark_scales: bool = True,
    mark_non_scales: bool = True,
    **options: Any,
) -> None:
    """Mark a model's parameters as constants of its graphs. Changes no result."""
    del model, mark_only_scales_as_const, mark_scales, mark_non_scales, options


def hpu_inference_initialize(model: torch.nn.Module | None = None, **options: Any) -> None:
    """The older name of :func:`hpu_initialize`."""
    hpu_initialize(model, **options)
