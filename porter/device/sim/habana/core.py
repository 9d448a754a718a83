"""``habana_frameworks.torch``: ``mark_step``, settings that change no result here, the device.

For the modules ``core``, ``utils.library_loader``, ``utils.experimental``, ``distributed.hccl``.
"""

from __future__ import annotations

import enum
import os
from typing import Any

import torch

from porter.device.sim.accounting.ledger import accounting_of


def mark_step(device_str: str = "", sync: bool = False) -> None:
    """End the accumulated graph: look it up, compile it if it is new, launch it.

    In eager mode (``is_lazy()`` is False) nothing accumulates and nothing happens.
    ``sync`` waits for the host side only, and changes nothing here.
    """
    accounting = accounting_of("hpu")
    if accounting is not None:
        accounting.mark_step()


def hpu_set_env(model: torch.nn.Module | None = None) -> None:
    """Prepare the environment for inference. Changes nothing in the simulation."""


def hpu_reset_env() -> None:
    """Undo :func:`hpu_set_env`."""


def hpu_set_inference_env(model: torch.nn.Module | None = None) -> None:
    """Prepare the environment for inference. Changes nothing in the simulation."""


def hpu_teardown_inference_env() -> None:
    """Undo :func:`hpu_set_inference_env`."""


hpu_inference_set_env = hpu_set_inference_env  # its older name


def hpu_initialize(
    model: torch.nn.Module | None = None,
    mark_only_scales_as_const: bool = False,
    optimizer: Any = None,
    args: Any = None,
    **options: Any,
) -> None:
    """Mark a model's parameters as constants of its graphs. Changes no result.

    ``options`` are those that later releases added (``mark_scales``, ``mark_non_scales``).
    """


def hpu_inference_initialize(
    model: torch.nn.Module | None = None,
    mark_only_scales_as_const: bool = False,
    optimizer: Any = None,
    args: Any = None,
    **options: Any,
) -> None:
    """The older name of :func:`hpu_initialize`."""


def load_habana_module() -> None:
    """Load the device's library: done when the simulation starts."""


def is_habana_available() -> bool:
    """Whether there is a device; pytorch-lightning 1.8 and 1.9 call it when imported."""
    return True


def is_habana_avaialble() -> bool:
    """Whether there is a device (the vendor's spelling)."""
    return True


class synDeviceType(enum.IntEnum):
    """The vendor's device types."""

    synDeviceGaudi = 1
    synDeviceGaudi2 = 4
    synDeviceGaudi3 = 5


def _get_device_type() -> synDeviceType:
    return synDeviceType.synDeviceGaudi2


def initialize_distributed_hpu(
    world_size: int | None = None, rank: int | None = None, local_rank: int | None = None
) -> tuple[int, int, int]:
    """Return world size, rank and local rank: as given, or from the environment, or 1, 0, 0."""
    world = int(os.environ.get("WORLD_SIZE", 1)) if world_size is None else world_size
    mine = int(os.environ.get("RANK", 0)) if rank is None else rank
    local = int(os.environ.get("LOCAL_RANK", 0)) if local_rank is None else local_rank
    return world, mine, local


def _data_ptr(t: torch.Tensor) -> int:
    """Return the address of a tensor's data, here in the host's memory."""
    return t.data_ptr()


def _set_profiler_tracer_memory(device_id: int) -> int:
    """Give the card's tracer memory: there is neither, 0."""
    return 0


_constants: dict[int, int] = {}
"""Ids of tensors that were marked constant, by the address of their data."""


def _mark_params_as_const(
    model: torch.nn.Module | None = None, only_scales: bool = False, console_prints: bool = False
) -> None:
    """Mark a model's state constant, so that the card's compiler may fold it: nothing changes."""
    for name, tensor in ({} if model is None else model.state_dict()).items():
        if only_scales and "scale" not in name:
            continue
        number = _constants.setdefault(tensor.data_ptr(), len(_constants))
        if console_prints:
            print(f"Tensor '{name}' is_const 'True' id '{number}'")


def _get_marked_const_count() -> int:
    """Return how many tensors were marked."""
    return len(_constants)


def _check_params_as_const(model: torch.nn.Module | None = None, only_scales: bool = False) -> None:
    """Read the marks. The vendor's function neither returns nor raises anything either."""
