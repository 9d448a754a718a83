"""PT7xx: optimizers, batches and checkpoints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import ClassVar

from porter.scan.reading.guards import by_device
from porter.scan.reading.module import Module, argument, dotted, names, text_of
from porter.scan.reading.rule import Reason, Rule, Spot, Sureness

_ADAM = ("torch.optim.AdamW", "torch.optim.Adam")


class StepInGraph(Rule):
    code = "PT701"
    name = "optimizer"
    title = "Adam counts its steps in Python"
    mend = (
        "on hpu capturable=True, or habana_frameworks.torch.hpex.optimizers.FusedAdamW; on npu "
        "torch_npu.optim.NpuFusedAdamW; no fused=True off CUDA"
    )
    reasons: ClassVar = {
        "hpu": Reason(
            "warning",
            "the bias correction is a number in the graph: each step compiles anew in lazy mode",
            "docs.habana.ai, Model Performance Optimization Guide",
        ),
        "npu": Reason(
            "note",
            "a dozen operations per list of parameters; the fused one has a fixed few",
            "Ascend/ModelZoo-PyTorch, built-in/diffusion/diffusers0.18.1",
        ),
    }
    learnt = (
        "ddpm-from-scratch/0002-static-graphs.patch",
        "diffusers/0006-fused-optimizer.patch",
    )
    before = """\
import torch

def optimizer(net, device):
    return torch.optim.AdamW(net.parameters(), lr=1e-4)  # <-
"""
    after = """\
import torch

def optimizer(net, device):
    capturable = device.type == "hpu"
    return torch.optim.AdamW(net.parameters(), lr=1e-4, capturable=capturable)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            if module.called(call) not in _ADAM or by_device(module, call):
                continue
            if argument(call, "capturable") is None:
                yield Spot(call, f"{module.called(call)}", _stepped(module, call))


def _stepped(module: Module, call: ast.Call) -> Sureness:
    """Say how sure it is that the steps are taken on the device.

    A module that makes the optimizer of its own weights does so before anything moves it.
    """
    function = module.function(call)
    first = argument(call, "params", 0)
    own = first is not None and dotted(getattr(first, "func", first)) == "self.parameters"
    made = function is not None and function.name == "__init__"
    return "possible" if own and made else "sure"


class Pinning(Rule):
    code = "PT702"
    name = "pinning"
    title = "A DataLoader's batches are not pinned"
    mend = "pin_memory=True, and .to(device, non_blocking=True) where a batch is moved"
    reasons: ClassVar = {
        "hpu": Reason(
            "note",
            "a copy from pageable memory makes the host wait",
            "docs.habana.ai, Model Performance Optimization Guide",
        ),
        "npu": Reason(
            "note",
            "a copy from pageable memory makes the host wait",
            "Ascend/ModelZoo-PyTorch, built-in/diffusion/diffusers0.18.1",
        ),
    }
    learnt = ("diffusers/0007-data-loading.patch", "accelerate/0004-no-host-sync.patch")
    before = """\
from torch.utils.data import DataLoader

def batches(dataset):
    return DataLoader(dataset, batch_size=4, shuffle=True)  # <-
"""
    after = """\
from torch.utils.data import DataLoader

def batches(dataset):
    return DataLoader(dataset, batch_size=4, shuffle=True, pin_memory=True)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        loaders = ("torch.utils.data.DataLoader", "torch.utils.data.dataloader.DataLoader")
        for call in module.all(ast.Call):
            if module.called(call) not in loaders or any(k.arg is None for k in call.keywords):
                continue
            pinned = argument(call, "pin_memory", 8)
            if pinned is None or (isinstance(pinned, ast.Constant) and not pinned.value):
                yield Spot(call, "pin_memory is off")


class MapLocation(Rule):
    code = "PT703"
    name = "map-location"
    title = "torch.load without map_location"
    mend = 'map_location="cpu", then load_state_dict, which copies to where the parameters are'
    reasons: ClassVar = {
        "hpu": Reason("error", "a checkpoint saved on CUDA does not load where CUDA is missing",
                      "PyTorch, torch.load"),
        "npu": Reason("error", "a checkpoint saved on CUDA does not load where CUDA is missing",
                      "PyTorch, torch.load"),
    }  # fmt: skip
    learnt = ("ddpm-from-scratch/0002-static-graphs.patch",)
    served = True
    before = """\
import torch

def restore(net, path):
    net.load_state_dict(torch.load(path))  # <-
"""
    after = """\
import torch

def restore(net, path):
    net.load_state_dict(torch.load(path, map_location="cpu"))
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            if module.called(call) != "torch.load" or any(k.arg is None for k in call.keywords):
                continue
            if argument(call, "map_location", 1) is None:
                data = re.match(r"(.*/)?(data|dataset)s?/", text_of(argument(call, "f", 0)) or "")
                sure: Sureness = "possible" if data else "likely"
                yield Spot(call, "torch.load keeps the device of the checkpoint", sure)


class BlockingMove(Rule):
    code = "PT704"
    name = "blocking-copy"
    title = "A batch is copied to the device while the host waits"
    mend = "non_blocking=True, from a DataLoader with pin_memory=True"
    reasons: ClassVar = {
        "hpu": Reason("note", "the host waits for each copy", "docs.habana.ai, Model Performance "
                      "Optimization Guide"),
        "npu": Reason("note", "the host waits for each copy"),
    }  # fmt: skip
    learnt = ("accelerate/0004-no-host-sync.patch", "ddpm-from-scratch/0002-static-graphs.patch")
    before = """\
def train(model, loader, device):
    for batch, labels in loader:
        batch = batch.to(device)  # <-
        model(batch, labels)
"""
    after = """\
def train(model, loader, device):
    for batch, labels in loader:
        batch = batch.to(device, non_blocking=True)
        model(batch, labels)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            func, loop = call.func, module.loop(call)
            if not isinstance(func, ast.Attribute) or not isinstance(loop, ast.For):
                continue
            if func.attr not in ("to", "cuda") or not isinstance(func.value, ast.Name):
                continue
            if argument(call, "non_blocking", 1 if func.attr == "cuda" else 2) is not None:
                continue
            comes = func.value.id in names(loop.target)
            loads = any("load" in each.lower() for each in names(loop.iter))
            if comes and loads:
                yield Spot(call, f"{module.source.of(call)} waits", "likely")
