"""PT60x: operators that a device lacks, or computes in many kernels."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import ClassVar

from porter.scan.reading.module import Module, argument, dotted
from porter.scan.reading.rule import Reason, Rule, Spot, Sureness


class OneGroup(Rule):
    code = "PT601"
    name = "one-group"
    title = "GroupNorm with one group"
    mend = (
        "a LayerNorm over all but the first axis, then one weight and one bias per channel; the "
        "parameters keep names and shapes"
    )
    reasons: ClassVar = {
        "hpu": Reason(
            "note",
            "LayerNorm is one kernel; GroupNorm's backward pass is many",
            "HabanaAI/gaudi-pytorch-bridge, hpu_ops/backend/native_group_norm_gen.cpp",
        )
    }
    learnt = (
        "v-diffusion/0004-groupnorm-to-layernorm.patch",
        "ddpm-from-scratch/0006-groupnorm-to-layernorm.patch",
    )
    before = """\
from torch import nn

def block(channels):
    return nn.Sequential(nn.Conv2d(3, channels, 1), nn.GroupNorm(1, channels))  # <-
"""
    after = """\
from torch import nn
from layer_norm import LayerNormCHW

def block(channels):
    return nn.Sequential(nn.Conv2d(3, channels, 1), LayerNormCHW(channels))
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            name = module.called(call) or dotted(call.func) or ""
            if name.rpartition(".")[2] != "GroupNorm":  # torch's, or the project's own of that name
                continue
            groups = argument(call, "num_groups", 0)
            if groups is not None and (sure := _may_be_one(module, groups)):
                yield Spot(call, module.source.of(call), sure, devices=("hpu",))


def _may_be_one(module: Module, node: ast.expr) -> Sureness | None:
    if isinstance(node, ast.Constant):
        return "sure" if node.value == 1 else None
    if isinstance(node, ast.IfExp):
        return "likely" if any(_may_be_one(module, n) for n in (node.body, node.orelse)) else None
    if isinstance(node, ast.Name):
        function = module.function(node)
        if function is None:
            return None
        positional = [*function.args.posonlyargs, *function.args.args]
        defaults = zip(reversed(positional), reversed(function.args.defaults), strict=False)
        one = any(
            arg.arg == node.id and isinstance(value, ast.Constant) and value.value == 1
            for arg, value in defaults
        )
        return "possible" if one else None
    return None


class Atan2(Rule):
    code = "PT602"
    name = "atan2"
    title = "atan2 is called"
    mend = "atan of the quotient, corrected by where, or angles that need no arc tangent"
    reasons: ClassVar = {
        "hpu": Reason(
            "note",
            "atan is a basic kernel of every accelerator; the vendor's list has atan2 too, and "
            "autocast sends it to float32",
            "docs.habana.ai, PyTorch Operators and Mixed Precision",
        ),
        "npu": Reason("note", "autocast sends it to float32", "Ascend/pytorch, AutoCastOps.cpp"),
    }
    learnt = ("v-diffusion/0005-static-graphs.patch",)
    before = """\
import torch

def time(alpha, sigma):
    return torch.atan2(sigma, alpha)  # <-
"""
    after = """\
import torch

def time(alpha, sigma):
    return torch.atan(sigma / alpha)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            if module.called(call) in ("torch.atan2", "torch.arctan2"):
                yield Spot(call, "atan2")


class Unfold(Rule):
    code = "PT603"
    name = "unfold"
    title = "Patches are cut by Tensor.unfold"
    mend = "views: unflatten both axes and transpose"
    reasons: ClassVar = {
        "hpu": Reason(
            "note",
            "the gradient of unfold runs on the CPU",
            "the vendor's operator list, porter/device/sim/accounting/data/hpu_ops.json",
        )
    }
    learnt = ("ddpm-from-scratch/0002-static-graphs.patch",)
    before = """\
import torch

def patches(x, size):
    return x.unfold(2, size, size).unfold(3, size, size)  # <-
"""
    after = """\
import torch

def patches(x, size):
    return x.unflatten(3, (-1, size)).unflatten(2, (-1, size)).transpose(3, 4)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            if not isinstance(call.func, ast.Attribute) or call.func.attr != "unfold":
                continue
            if len(call.args) + len(call.keywords) == 3 and module.called(call) is None:
                yield Spot(call, ".unfold()", "likely", devices=("hpu",))


class Compile(Rule):
    code = "PT606"
    name = "compile"
    title = "torch.compile with the default backend"
    mend = 'backend="hpu_backend" in eager mode on hpu, torchair on npu, or no compile there'
    reasons: ClassVar = {
        "hpu": Reason("error", "inductor makes no code for Gaudi", "docs.habana.ai, torch.compile"),
        "npu": Reason("error", "inductor makes no code for Ascend without torchair"),
    }
    before = """\
import torch

def fast(model):
    return torch.compile(model)  # <-
"""
    after = """\
import torch

def fast(model, backend):
    return torch.compile(model, backend=backend)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            if module.called(call) == "torch.compile" and argument(call, "backend") is None:
                asked = 1 if any(True for _ in module.guards(call)) else 0
                yield Spot(call, "torch.compile", milder=asked)
