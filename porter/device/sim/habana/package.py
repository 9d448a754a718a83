"""The modules of the simulated ``habana_frameworks``, and their share in ``torch.hpu``."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from porter.device.sim.vendors.stub_module import Package, merge_device_module

_HERE = "porter.device.sim.habana"
_TORCH = "habana_frameworks.torch"


def _publish(modules: Mapping[str, ModuleType]) -> None:
    """Make ``torch.hpu`` and ``habana_frameworks.torch.hpu`` one module, as on the card."""
    merge_device_module(modules[f"{_TORCH}.hpu"], "hpu", modules[f"{_TORCH}.hpu.random"])


HABANA = Package(
    root="habana_frameworks",
    contents={
        "habana_frameworks": None,
        _TORCH: None,
        f"{_TORCH}.core": f"{_HERE}.core",
        f"{_TORCH}.distributed": None,
        f"{_TORCH}.distributed.hccl": f"{_HERE}.hccl",
        f"{_TORCH}.gpu_migration": f"{_HERE}.gpu_migration",
        f"{_TORCH}.hpex": None,
        f"{_TORCH}.hpex.hmp": f"{_HERE}.hmp",
        f"{_TORCH}.hpex.kernels": f"{_HERE}.kernels",
        f"{_TORCH}.hpex.kernels.Fp8Ops": f"{_HERE}.fp8",
        f"{_TORCH}.hpex.normalization": f"{_HERE}.normalization",
        f"{_TORCH}.hpex.optimizers": f"{_HERE}.optimizers",
        f"{_TORCH}.hpu": f"{_HERE}.hpu",
        f"{_TORCH}.hpu.graphs": f"{_HERE}.graphs",
        f"{_TORCH}.hpu.metrics": f"{_HERE}.metrics",
        f"{_TORCH}.hpu.random": None,
        f"{_TORCH}.utils": None,
        f"{_TORCH}.utils.experimental": f"{_HERE}.experimental",
        f"{_TORCH}.utils.library_loader": f"{_HERE}.loader",
    },
    acting=frozenset({f"{_TORCH}.gpu_migration"}),
    aliases={
        f"{_TORCH}.core.hpu": f"{_TORCH}.hpu",
        f"{_TORCH}.utils.experimental.hpu": f"{_TORCH}.hpu",
    },
    publish=_publish,
)
