"""``hccl``, the vendors' backend of ``torch.distributed``, on simulated devices.

Both vendors call their backend so. Here it is PyTorch's own gloo over the tensors' CPU storage:
ranks are processes on one machine, results are right, and nothing is said about links or time.
"""

from __future__ import annotations

from typing import Any

import torch


def install_hccl(kind: str) -> None:
    """Register the backend ``hccl`` for a device type; a process can do that once."""
    if not torch.distributed.is_available():
        return
    backend: Any = torch.distributed.Backend
    known = getattr(backend, "_plugins", {})
    if "HCCL" in known:
        backend.backend_capability["hccl"] = sorted({*backend.backend_capability["hccl"], kind})
        return
    backend.register_backend("hccl", _gloo, devices=["cpu", kind])


def _gloo(store: Any, rank: int, size: int, timeout: Any) -> Any:
    from torch._C._distributed_c10d import ProcessGroupGloo

    return ProcessGroupGloo(store, rank, size, timeout)


def is_hccl_available() -> bool:
    """Whether ``hccl`` can be asked for: yes, on a simulated device."""
    return True
