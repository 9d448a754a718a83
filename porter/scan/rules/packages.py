"""PT8xx: packages that only one vendor's machines have."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import ClassVar

from porter.scan.reading.module import FUNCTIONS, VENDORS, Module
from porter.scan.reading.rule import DEVICES, Device, Reason, Rule, Spot

_CUDA_ONLY = {
    "flash_attn", "xformers", "apex", "bitsandbytes", "triton", "cupy", "pycuda", "pynvml",
    "tensorrt", "torch_tensorrt", "nvidia", "amp_C",
}  # fmt: skip


def imports(module: Module) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    """Yield the absolute imports that run when the file is imported, with their packages."""
    nodes: list[ast.Import | ast.ImportFrom] = [
        *module.all(ast.Import),
        *module.all(ast.ImportFrom),
    ]
    for node in nodes:
        inside = any(isinstance(parent, FUNCTIONS) for parent, _ in module.ancestors(node))
        if inside or module.is_tried(node) or any(True for _ in module.guards(node)):
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name.partition(".")[0]
        elif not node.level and node.module:
            yield node, node.module.partition(".")[0]


class CudaPackage(Rule):
    code = "PT801"
    name = "cuda-package"
    title = "A package that exists for CUDA alone is imported"
    mend = "import it where it is used, or try to and go on without it"
    reasons: ClassVar = {
        "hpu": Reason(
            "error", "the package does not install there, so the file cannot be imported"
        ),
        "npu": Reason(
            "error", "the package does not install there, so the file cannot be imported"
        ),
    }
    learnt = ("diffusion-from-scratch/0001-minimal.patch",)
    before = """\
from flash_attn import flash_attn_func  # <-
"""
    after = """\
try:
    from flash_attn import flash_attn_func
except ModuleNotFoundError:
    flash_attn_func = None
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for node, package in imports(module):
            if package in _CUDA_ONLY:
                yield Spot(node, f"{package} needs CUDA")


class VendorImport(Rule):
    code = "PT802"
    name = "vendor-import"
    title = "A vendor's package is imported without asking whether it is there"
    mend = "import it where its device was chosen, so that every other machine runs without it"
    reasons: ClassVar = {
        "hpu": Reason("error", "torch_npu is not on a Gaudi machine: the file cannot be imported"),
        "npu": Reason("error", "habana_frameworks is not on an Ascend machine: the file cannot be "
                      "imported"),
    }  # fmt: skip
    learnt = ("v-diffusion/0001-minimal.patch", "diffusers/0001-minimal.patch")
    before = """\
import torch_npu  # <-
"""
    after = """\
def prepare(device):
    if device == "npu":
        import torch_npu
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for node, package in imports(module):
            if package in VENDORS:
                others: tuple[Device, ...] = tuple(d for d in DEVICES if d != VENDORS[package])
                yield Spot(node, f"{package} is imported everywhere", devices=others)


class CudaExtension(Rule):
    code = "PT803"
    name = "cuda-extension"
    title = "A CUDA kernel of its own is built or loaded"
    mend = "keep a path in plain PyTorch, and take it off CUDA"
    reasons: ClassVar = {
        "hpu": Reason("error", "nvcc's code does not run there"),
        "npu": Reason("error", "nvcc's code does not run there"),
    }
    before = """\
from torch.utils.cpp_extension import CUDAExtension

kernels = CUDAExtension("kernels", ["kernels.cu"])  # <-
"""
    after = """\
kernels = None
"""

    def find(self, module: Module) -> Iterator[Spot]:
        built = ("CUDAExtension", "load", "load_inline")
        for call in module.all(ast.Call):
            called = module.called(call) or ""
            if called in tuple(f"torch.utils.cpp_extension.{each}" for each in built):
                yield Spot(call, called)
