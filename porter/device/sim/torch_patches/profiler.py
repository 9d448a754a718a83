"""``torch.profiler`` on simulated devices: the host's activities alone.

There is no device to trace. Asked for CUDA's activities, C++ would print an error for every op.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from porter.interception.patching import Patches


def _host_only(native: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(native)
    def init(self: Any, *, activities: Any = None, **options: Any) -> None:
        del activities  # the host is traced whether it is named or not, so that there is a trace
        native(self, activities=[torch.profiler.ProfilerActivity.CPU], **options)

    return init


def install_profiler(patches: Patches) -> None:
    """Patch the base of ``torch.profiler.profile``."""
    base: Any = vars(torch.profiler)["_KinetoProfile"]
    patches.replace(base, "__init__", _host_only(base.__init__))
