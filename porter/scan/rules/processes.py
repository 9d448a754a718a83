"""PT3xx: several processes, each with a card."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import ClassVar

from porter.scan.reading.guards import by_device, knows_others
from porter.scan.reading.module import Module, argument, names
from porter.scan.reading.rule import Reason, Rule, Spot
from porter.scan.rules.devices import strength

_MINIMAL = ("ddpm-from-scratch/0001-minimal.patch", "diffusion-from-scratch/0001-minimal.patch")
_DDP = ("torch.nn.parallel.DistributedDataParallel",
        "torch.nn.parallel.distributed.DistributedDataParallel")  # fmt: skip


class Backend(Rule):
    code = "PT301"
    name = "nccl"
    title = "Processes talk over nccl"
    mend = (
        "the device's own backend: hccl on hpu (import habana_frameworks.torch.distributed.hccl "
        "first) and npu, gloo on the CPU"
    )
    reasons: ClassVar = {
        "hpu": Reason("error", "nccl needs CUDA; Gaudi has hccl", "docs.habana.ai, Scaling Guide"),
        "npu": Reason("error", "nccl needs CUDA; Ascend has hccl", "Ascend/pytorch README"),
    }
    learnt = (*_MINIMAL, "accelerate/0003-hccl-devices.patch")
    served = True
    before = """\
import torch.distributed as dist

def start(rank):
    dist.init_process_group(backend="nccl", rank=rank)  # <-
"""
    after = """\
import torch.distributed as dist

def start(rank, backend):
    dist.init_process_group(backend=backend, rank=rank)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for node in module.all(ast.Constant):
            if node.value != "nccl" or by_device(module, node) or knows_others(module, node):
                continue
            parent = module.parents[node]
            if isinstance(parent, ast.Compare):
                yield Spot(node, "a branch for nccl alone", "possible", 1)
            elif isinstance(parent, (ast.keyword, ast.Call, ast.Assign, ast.IfExp, ast.arguments)):
                yield Spot(node, "nccl", milder=strength(module, node))


class CardOfRank(Rule):
    code = "PT302"
    name = "card-of-rank"
    title = "A process chooses or counts its cards by CUDA"
    mend = (
        "getattr(torch, device.type).set_device(rank) on cuda and npu; on hpu nothing, since a "
        "process sees one card, number 0"
    )
    reasons: ClassVar = {
        "hpu": Reason(
            "error",
            "there is no CUDA; a Gaudi process sees one card, and it is number 0",
            "docs.habana.ai, PyTorch Model Porting",
        ),
        "npu": Reason("error", "there is no CUDA; torch.npu has the same calls", "torch-npu wheel"),
    }
    learnt = _MINIMAL
    served = True
    before = """\
import torch

def start(rank):
    torch.cuda.set_device(rank)  # <-
    return torch.cuda.device_count()  # <-
"""
    after = """\
import torch

def start(device, rank):
    if device.type in ("cuda", "npu"):
        getattr(torch, device.type).set_device(rank)
    return getattr(torch, device.type).device_count()
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            called = module.called(call)
            if called not in ("torch.cuda.set_device", "torch.cuda.device_count"):
                continue
            if not by_device(module, call) and not knows_others(module, call):
                yield Spot(call, called, milder=strength(module, call))


class DeviceIds(Rule):
    code = "PT303"
    name = "device-ids"
    title = "DistributedDataParallel gets device ids"
    mend = "device_ids=[rank] on cuda and npu, None on hpu and the CPU"
    reasons: ClassVar = {
        "hpu": Reason(
            "error",
            "a Gaudi process has one card, number 0: ids of other ranks are no device of it",
        ),
        "npu": Reason("note", "the ids must be those of NPUs"),
    }
    learnt = (*_MINIMAL, "accelerate/0003-hccl-devices.patch")
    before = """\
from torch.nn.parallel import DistributedDataParallel as DDP

def wrap(net, rank):
    return DDP(net, device_ids=[rank])  # <-
"""
    after = """\
from torch.nn.parallel import DistributedDataParallel as DDP

def wrap(net, device, rank):
    return DDP(net, device_ids=[rank] if device.type in ("cuda", "npu") else None)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            if module.called(call) not in _DDP:
                continue
            ids = argument(call, "device_ids", 1)
            if ids is None or isinstance(ids, ast.Constant) or by_device(module, call):
                continue
            if isinstance(ids, ast.IfExp) and "type" in names(ids.test):
                continue
            yield Spot(call, f"device_ids = {module.source.of(ids)}", milder=strength(module, call))


class DataParallel(Rule):
    code = "PT304"
    name = "data-parallel"
    title = "One process drives several cards by DataParallel"
    mend = "one process per card, with DistributedDataParallel"
    reasons: ClassVar = {
        "hpu": Reason("error", "a Gaudi process sees one card"),
        "npu": Reason("warning", "one process per card is the way that hccl is made for"),
    }
    before = """\
from torch import nn

def wrap(net):
    return nn.DataParallel(net)  # <-
"""
    after = """\
from torch.nn.parallel import DistributedDataParallel

def wrap(net):
    return DistributedDataParallel(net)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            if module.called(call) in ("torch.nn.DataParallel", "torch.nn.parallel.DataParallel"):
                yield Spot(call, "DataParallel", milder=strength(module, call))
