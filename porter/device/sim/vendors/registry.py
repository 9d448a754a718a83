"""Which vendor's package goes with which simulated device.

:func:`install_package` is called when a simulation is activated, after the device module
(``torch.hpu``) is in place; from then on ``import habana_frameworks.torch.core`` works, and
``torch.hpu`` has the vendor's names too (the vendors' plugins are loaded by ``import torch``
itself). ``porter.device.sim.vendors.stub_module.missing`` counts the names that the program asked
for and did not get.
"""

from __future__ import annotations

import importlib

import torch

from porter.device.sim.vendors import stub_module as vendor
from porter.device.sim.vendors.collectives import install_hccl, is_hccl_available
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
    package: vendor.Package = getattr(importlib.import_module(module), name)
    vendor.install(package)
    patches.later(lambda: vendor.uninstall(package.root))
    importlib.import_module(package.root)
    install_hccl(kind)
    if torch.distributed.is_available():
        patches.replace(torch.distributed, "is_hccl_available", is_hccl_available)
