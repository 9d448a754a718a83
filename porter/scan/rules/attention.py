"""PT60x: attention written by hand, and what the scores of it are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from porter.scan.reading.module import Module, argument
from porter.scan.reading.rule import Reason, Rule, Spot

_PRODUCTS = {"matmul", "bmm", "baddbmm", "einsum"}
_SDPA = "torch.nn.functional.scaled_dot_product_attention"


@dataclass(frozen=True)
class Scores:
    """A product of two tensors, ``operands``, that the call ``softmax`` takes."""

    product: ast.expr
    operands: tuple[ast.expr, ...]
    softmax: ast.Call


def scores_of(module: Module) -> Iterator[Scores]:
    """Yield each softmax over a product of two tensors, in the same function or expression."""
    for call in module.all(ast.Call):
        if (scored := _softmaxed(module, call)) is None:
            continue
        for product, operands in _products(module, scored, 3):
            yield Scores(product, operands, call)
            break


def _softmaxed(module: Module, call: ast.Call) -> ast.expr | None:
    """Return what a call takes the softmax of; None for other calls."""
    name = module.called(call)
    if name in ("torch.softmax", "torch.nn.functional.softmax"):
        return argument(call, "input", 0)
    if isinstance(call.func, ast.Attribute) and call.func.attr == "softmax":
        if isinstance(call.func.value, ast.Name) and call.func.value.id == "self":
            return call.args[0] if call.args else None
        return call.func.value if name is None else None
    return None


def _products(
    module: Module, node: ast.expr, depth: int
) -> Iterator[tuple[ast.expr, tuple[ast.expr, ...]]]:
    """Yield the products in an expression, and in what its names were assigned before."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield node, (node.left, node.right)
        return
    if isinstance(node, ast.Call):
        attr = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        bare = node.func.id if isinstance(node.func, ast.Name) else ""
        if attr in _PRODUCTS or bare in _PRODUCTS:
            free = module.called(node) is not None
            yield node, tuple(node.args if free or bare else [node.func.value, *node.args])  # type: ignore[attr-defined]
            return
        if attr:
            yield from _products(module, node.func.value, depth)  # type: ignore[attr-defined]
        return
    if isinstance(node, ast.BinOp):
        yield from _products(module, node.left, depth)
        yield from _products(module, node.right, depth)
        return
    if isinstance(node, ast.Name) and depth:
        for value in module.values(node):
            if value.lineno < node.lineno:
                yield from _products(module, value, depth - 1)


class HandAttention(Rule):
    code = "PT604"
    name = "hand-attention"
    title = "Attention is written out as two products and a softmax"
    mend = "torch.nn.functional.scaled_dot_product_attention, which takes the same scale and mask"
    reasons: ClassVar = {
        "hpu": Reason(
            "note",
            "the whole matrix of scores is held; FusedSDPA is one kernel",
            "docs.habana.ai, Using Fused Scaled Dot Product Attention",
        ),
        "npu": Reason(
            "note",
            "the whole matrix of scores is held; npu_fusion_attention is one kernel",
            "Ascend/pytorch, npu_fusion_attention",
        ),
    }
    learnt = ("diffusers/0004-flash-attention.patch",)
    before = """\
import torch

def attend(q, k, v, scale):
    weights = torch.softmax(q @ k.transpose(-1, -2) * scale, dim=-1)  # <-
    return weights @ v
"""
    after = """\
import torch.nn.functional as F

def attend(q, k, v, scale):
    return F.scaled_dot_product_attention(q, k, v, scale=scale)  # porter: ignore[PT605]
"""

    def find(self, module: Module) -> Iterator[Spot]:
        seen = set()
        for found in scores_of(module):
            if found.softmax not in seen:
                seen.add(found.softmax)
                yield Spot(found.softmax, "a softmax of products", "likely")


class DeviceAttention(Rule):
    code = "PT605"
    name = "device-attention"
    title = "SDPA is called, and the device has its own fused kernel"
    mend = (
        "on hpu habana_frameworks.torch.hpex.kernels.FusedSDPA, on npu "
        "torch_npu.npu_fusion_attention, elsewhere SDPA"
    )
    reasons: ClassVar = {
        "hpu": Reason(
            "note",
            "FusedSDPA never holds the matrix of scores",
            "docs.habana.ai, Using Fused Scaled Dot Product Attention",
        ),
        "npu": Reason(
            "note",
            "npu_fusion_attention never holds the matrix of scores",
            "Ascend/pytorch, npu_fusion_attention",
        ),
    }
    learnt = (
        "diffusion-from-scratch/0006-flash-attention.patch",
        "diffusers/0004-flash-attention.patch",
    )
    before = """\
import torch.nn.functional as F

def attend(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)  # <-
"""
    after = """\
from attend import attend

def forward(q, k, v):
    return attend(q, k, v)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        if module.vendors:
            return
        for call in module.all(ast.Call):
            if module.called(call) == _SDPA and not _chosen_by_kind(module, call):
                yield Spot(call, "scaled_dot_product_attention")


def _chosen_by_kind(module: Module, call: ast.Call) -> bool:
    from porter.scan.reading.guards import by_device

    return by_device(module, call)
