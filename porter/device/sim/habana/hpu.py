"""The names of ``habana_frameworks.torch.hpu`` that other device modules lack.

Installation adds the common names (:mod:`porter.device.sim.torch_patches.device_module`) to these,
and these to ``torch.hpu``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from porter.device.sim.torch_patches.device_module import TOTAL_MEMORY

DEVICE_NAME = "GAUDI2"
"""The simulated card, as the vendor's call spells it."""

_dynamic = {"enabled": False}
_recompute = {"enabled": False}


def get_device_name(device: Any = None) -> str:
    """The card's name, which programs compare with ``GAUDI``, ``GAUDI2``, ``GAUDI3``."""
    return DEVICE_NAME


def get_device_capability(device: Any = None) -> str:
    """The vendor's software version; there is none here."""
    return "simulated"


def is_autocast_hpu_enabled() -> bool:
    """Whether autocast on hpu is on."""
    return torch.is_autocast_enabled("hpu")


def set_autocast_hpu_enabled(enabled: bool) -> None:
    """Switch autocast on hpu."""
    torch.set_autocast_enabled("hpu", enabled)


def get_autocast_hpu_dtype() -> torch.dtype:
    """The dtype of autocast on hpu."""
    return torch.get_autocast_dtype("hpu")


def set_autocast_hpu_dtype(dtype: torch.dtype) -> None:
    """Choose the dtype of autocast on hpu."""
    torch.set_autocast_dtype("hpu", dtype)


def enable_dynamic_shape() -> None:
    """Let the bridge treat shapes as dynamic. Compilations are still counted per shape."""
    _dynamic["enabled"] = True


def disable_dynamic_shape() -> None:
    """Undo :func:`enable_dynamic_shape`."""
    _dynamic["enabled"] = False


def is_dynamic_shape_enabled() -> bool:
    """Whether dynamic shapes were enabled."""
    return _dynamic["enabled"]


get_dynamic_shape_status = is_dynamic_shape_enabled  # the bridge's own name


def enable_inference_mode() -> None:
    """Let the card's compiler keep weights that are marked as constant; nothing is simulated."""


def disable_inference_mode() -> None:
    """Undo :func:`enable_inference_mode`."""


def enable_matmul3d_2d_reshape() -> None:
    """Let the card's compiler flatten batches of products; nothing is simulated."""


def disable_matmul3d_2d_reshape() -> None:
    """Undo :func:`enable_matmul3d_2d_reshape`."""


def enable_optim_output_sif() -> None:
    """Choose how the card finds the shapes of results; nothing is simulated."""


def disable_optim_output_sif() -> None:
    """Undo :func:`enable_optim_output_sif`."""


def is_bf16_supported() -> bool:
    """Whether the card computes in bfloat16: every Gaudi does."""
    return True


@contextlib.contextmanager
def sdp_kernel(enable_recompute: bool = True) -> Iterator[None]:
    """Choose how FusedSDPA runs inside the block: with or without recomputation."""
    before = _recompute["enabled"]
    _recompute["enabled"] = enable_recompute
    try:
        yield
    finally:
        _recompute["enabled"] = before


def recompute_sdp_enabled() -> bool:
    """Whether :func:`sdp_kernel` enabled recomputation."""
    return _recompute["enabled"]


def memory_stats(device: Any = None) -> dict[str, int]:
    """The vendor's memory figures. All zero but the limit: memory is not modelled."""
    zero = (
        "InUse", "MaxInUse", "NumAllocs", "NumFrees", "ActiveAllocs", "MaxAllocSize",
        "TotalSystemAllocs", "TotalSystemFrees", "TotalActiveAllocs",
    )  # fmt: skip
    return {"Limit": TOTAL_MEMORY, **dict.fromkeys(zero, 0)}


def setDeterministic(val: bool) -> None:
    """Request deterministic kernels. The simulation's always are."""


def getDeterministic() -> bool:
    """Whether kernels are deterministic: always True."""
    return True


def enable_quantization() -> None:
    """Let the card's compiler quantise what is marked. The simulation computes as it is written."""


def disable_quantization() -> None:
    """Undo :func:`enable_quantization`."""


def enable_const_section_serialization(
    path: Any, clear_path: bool, use_compression: bool = False
) -> None:
    """Keep constants of compiled graphs in files below ``path``. Nothing is kept here.

    ``use_compression`` is of release 1.19; optimum-habana calls it without.
    """


def disable_const_section_serialization() -> None:
    """Undo :func:`enable_const_section_serialization`."""
