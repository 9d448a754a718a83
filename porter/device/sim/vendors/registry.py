"""Which vendor's package goes with which simulated device, and ``hccl``, the vendors' collectives.

:func:`install_package` is called when a simulation is activated, after the device module
(``torch.hpu``) is in place; from then on ``import habana_frameworks.torch.core`` works, and
``torch.hpu`` has the vendor's names too (the vendors' plugins are loaded by ``import torch``
itself). ``porter.device.sim.vendors.stub_module.missing`` counts the names that the program looked
up and did not get.

Both vendors call their backend of ``torch.distributed`` ``hccl``. Here it is PyTorch's own gloo
over the tensors' CPU storage: ranks are processes on one machine, results are right, and links and
times are not modelled.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch

from porter.device.sim.vendors import stub_module
from porter.interception.patching import Patches

_PACKAGES = {
    "hpu": "porter.device.sim.habana.package:HABANA",
    "npu": "porter.device.sim.ascend.package:ASCEND",
}


def install_package(kind: str, patches: Patches) -> None:
    """Make the package of device type ``kind`` importable, and import it; undone with patches."""
    if kind not in _PACKAGES:
        return
    module, _, name = _PACKAGES[kind].partition(":")
    package: stub_module.Package = getattr(importlib.import_module(module), name)
    stub_module.install(package)
    patches.later(lambda: stub_module.uninstall(package.root))
    importlib.import_module(package.root)
    if torch.distributed.is_available():
        _register_hccl(kind)
        patches.replace(torch.distributed, "is_hccl_available", lambda: True)


def _register_hccl(kind: str) -> None:
    """Register the backend for a device type; a process can register it only once."""
    backend: Any = torch.distributed.Backend
    if "HCCL" in getattr(backend, "_plugins", {}):
        backend.backend_capability["hccl"] = sorted({*backend.backend_capability["hccl"], kind})
        return
    backend.register_backend("hccl", _gloo, devices=["cpu", kind])


def _gloo(store: Any, rank: int, size: int, timeout: Any) -> Any:
    from torch._C._distributed_c10d import ProcessGroupGloo

    return ProcessGroupGloo(store, rank, size, timeout)
