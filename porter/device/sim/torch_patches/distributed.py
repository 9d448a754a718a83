"""``nccl`` on a simulated CUDA device: PyTorch's own gloo over the tensors' CPU storage.

Ranks are processes on one machine, results are right, and links and times are not modelled. C++
sees CPU tensors, so the backend serves the CPU's device type, too: also where a program names it
for the device alone ("cuda:nccl"), and where it names none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from porter.device.sim.core.machine import machines
from porter.interception.patching import Patches

BackendMap = dict[str, str]


def gloo(store: Any, rank: int, size: int, timeout: Any) -> Any:
    """Return a process group that runs on the CPU storage of simulated tensors."""
    from torch._C._distributed_c10d import ProcessGroupGloo

    return ProcessGroupGloo(store, rank, size, timeout)


class _Options(SimpleNamespace):
    """What ``init_process_group`` sets: a timeout, and settings that gloo has no use for."""

    def __init__(self, is_high_priority_stream: bool = False) -> None:
        super().__init__(
            is_high_priority_stream=is_high_priority_stream,
            config=SimpleNamespace(),
            _timeout=torch.distributed.default_pg_timeout,
        )


def process_group(name: str) -> type:
    """Return the class that stands for ``ProcessGroupNCCL`` or HCCL: gloo with its constructor."""
    from torch._C._distributed_c10d import ProcessGroupGloo

    def init(self: Any, store: Any, rank: int, size: int, options: Any = None) -> None:
        options = options or _Options()
        ProcessGroupGloo.__init__(self, store, rank, size, options._timeout)

    parts = {"__init__": init, "Options": _Options, "__doc__": "Simulated by gloo."}
    return type(name, (ProcessGroupGloo,), parts)


def _with_cpu(native: Callable[[Any], BackendMap]) -> Callable[[Any], BackendMap]:
    """``BackendConfig.get_device_backend_map`` with the device's backend for the CPU, if none."""

    @functools.wraps(native)
    def get_device_backend_map(config: Any) -> BackendMap:
        found = native(config)
        kind = next((kind for kind in found if kind in machines), None)
        return found if kind is None or "cpu" in found else {**found, "cpu": found[kind]}

    return get_device_backend_map


def install_backends(patches: Patches) -> None:
    """Make a group whose backend is the device's alone take simulated tensors."""
    if torch.distributed.is_available():
        config: Any = torch.distributed.distributed_c10d.BackendConfig
        patches.replace(config, "get_device_backend_map", _with_cpu(config.get_device_backend_map))


def install_nccl(patches: Patches) -> None:
    """Make ``init_process_group("nccl")`` work, which is CUDA's default."""
    distributed: Any = torch.distributed
    if not distributed.is_available() or distributed.is_nccl_available():
        return
    c10d = distributed.distributed_c10d
    group = process_group("ProcessGroupNCCL")
    for owner in (distributed, c10d):
        patches.replace(owner, "is_nccl_available", lambda: True)
        patches.replace(owner, "ProcessGroupNCCL", group)
    patches.replace(torch._C, "_nccl_version", lambda: 0)  # profilers ask; there is none
    patches.replace(torch._C, "_nccl_version_suffix", lambda: b"")
    served = distributed.Backend.backend_capability
    before = list(served["nccl"])
    served["nccl"] = ["cpu", *before]
    patches.later(lambda: served.update(nccl=before))
