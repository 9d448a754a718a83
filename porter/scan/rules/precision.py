"""PT2xx: autocast, loss scales, and dtypes that a device lacks or that overflow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import ClassVar

from porter.scan.reading.guards import by_device, knows_others
from porter.scan.reading.module import Module, argument, names, strings, text_of
from porter.scan.reading.rule import Reason, Rule, Spot, Sureness
from porter.scan.rules.attention import Scores, scores_of
from porter.scan.rules.devices import names_cuda

_OLD = ("torch.cuda.amp.autocast", "torch.cuda.amp.autocast_mode.autocast")
_NEW = ("torch.autocast", "torch.amp.autocast", "torch.amp.autocast_mode.autocast")
_HALF = ("torch.float16", "torch.half")


def is_autocast(module: Module, call: ast.Call) -> bool:
    """Return whether a call enters autocast, also under another name given to it here."""
    if module.called(call) in (*_OLD, *_NEW):
        return True
    if not isinstance(call.func, ast.Name):
        return False
    named = (each for value in module.values(call.func) for each in ast.walk(value))
    return any(module.name(each) in (*_OLD, *_NEW) for each in named)


def _is_old(module: Module, call: ast.Call) -> bool:
    return module.called(call) in _OLD


class AutocastDevice(Rule):
    code = "PT201"
    name = "autocast-device"
    title = "Autocast is entered for CUDA"
    mend = "torch.autocast(device.type, ...), with the dtype that is right for the device"
    reasons: ClassVar = {
        "hpu": Reason(
            "warning",
            "autocast of CUDA does nothing there: the model runs in float32",
            "docs.habana.ai, Mixed Precision",
        ),
        "npu": Reason(
            "warning",
            "autocast of CUDA does nothing there: the model runs in float32",
            "Ascend/pytorch, AutoCastOps.cpp",
        ),
    }
    learnt = (
        "v-diffusion/0001-minimal.patch",
        "diffusers/0001-minimal.patch",
        "ddpm-from-scratch/0004-mixed-precision.patch",
    )
    served = True
    before = """\
import torch

def step(model, x):
    with torch.cuda.amp.autocast():  # <-
        return model(x)
"""
    after = """\
import torch

def step(model, x):
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        return model(x)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            if not is_autocast(module, call) or by_device(module, call):
                continue
            kind = argument(call, "device_type", 0)
            if _is_old(module, call) or names_cuda(kind):
                yield Spot(call, f"{module.source.of(call)} is for CUDA")
        for node in module.all(ast.FunctionDef):
            for decorator in node.decorator_list:
                name = module.name(decorator) or ""
                if name in ("torch.cuda.amp.custom_fwd", "torch.cuda.amp.custom_bwd"):
                    yield Spot(decorator, f"{name} is for CUDA")


class AutocastDtype(Rule):
    code = "PT202"
    name = "autocast-dtype"
    title = "Autocast takes float16, or the device's own default"
    mend = "name the dtype: bfloat16 where the device has it, float16 with a GradScaler elsewhere"
    reasons: ClassVar = {
        "hpu": Reason(
            "note",
            "autocast's own dtype is bfloat16 on Gaudi, float16 on CUDA; first-generation Gaudi "
            "has no float16",
            "docs.habana.ai, Mixed Precision",
        ),
        "npu": Reason(
            "note",
            "autocast's own dtype is float16, as on CUDA: training needs the NPU's GradScaler",
            "Ascend/pytorch, AutoCastOps.cpp",
        ),
    }
    learnt = (
        "v-diffusion/0002-mixed-precision.patch",
        "diffusion-from-scratch/0004-mixed-precision.patch",
    )
    before = """\
import torch

def step(model, x):
    with torch.autocast(x.device.type):  # <-
        return model(x)
"""
    after = """\
import torch

def step(model, x, dtype):
    with torch.autocast(x.device.type, dtype=dtype):
        return model(x)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            if not is_autocast(module, call) or by_device(module, call):
                continue
            enabled = argument(call, "enabled", 0 if _is_old(module, call) else 2)
            if isinstance(enabled, ast.Constant) and enabled.value is False:
                continue
            dtype = argument(call, "dtype", 1)
            if dtype is None:
                yield Spot(call, "no dtype is named", "likely")
            elif module.name(dtype) in _HALF:
                yield Spot(call, "float16 is named")


class LossScale(Rule):
    code = "PT203"
    name = "grad-scaler"
    title = "The loss is scaled by CUDA's GradScaler"
    mend = (
        "the device's own: torch.npu.amp.GradScaler for float16 on an NPU, none for bfloat16, or "
        "torch.amp.GradScaler(device.type)"
    )
    reasons: ClassVar = {
        "hpu": Reason("warning", "the scaler disables itself without CUDA; bfloat16 needs none"),
        "npu": Reason(
            "error",
            "the scaler disables itself without CUDA, and float16 gradients underflow",
            "Ascend/ModelZoo-PyTorch, built-in/diffusion/diffusers0.18.1",
        ),
    }
    learnt = ("accelerate/0001-npu-gradscaler.patch", "accelerate/0002-gradscaler-dynamic.patch")
    served = True
    before = """\
import torch

def train(device):
    scaler = torch.cuda.amp.GradScaler()  # <-
    return scaler
"""
    after = """\
import torch

def train(device):
    scaler = torch.amp.GradScaler(device.type)
    return scaler
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            called = module.called(call)
            if (
                called == "torch.cuda.amp.GradScaler"
                or called == "torch.cuda.amp.grad_scaler.GradScaler"
            ):
                named = True
            elif called in ("torch.amp.GradScaler", "torch.GradScaler"):
                device = argument(call, "device", 0)
                named = device is None or names_cuda(device)
            else:
                continue
            if named and not by_device(module, call) and not knows_others(module, call):
                yield Spot(call, f"{called} is CUDA's")


class Float64(Rule):
    code = "PT204"
    name = "float64"
    title = "A float64 tensor goes to the device"
    mend = "round to float32 on the CPU first, where schedules are made; float64 stays there"
    reasons: ClassVar = {
        "hpu": Reason(
            "error",
            "Gaudi has no float64; its published bridge computes doubles as floats without a word",
            "docs.habana.ai, PyTorch Support Matrix, data types",
        )
    }
    learnt = ("stable-diffusion/0002-hpu-graph.patch", "diffusers/0001-minimal.patch")
    before = """\
import torch

class Schedule(torch.nn.Module):
    def __init__(self, steps):
        super().__init__()
        self.register_buffer("betas", torch.linspace(1e-4, 0.02, steps, dtype=torch.float64))  # <-

def times(t, device):
    if device.type == "mps":  # <-
        return t.to(device, dtype=torch.float32)
    return t.to(device)
"""
    after = """\
import torch

class Schedule(torch.nn.Module):
    def __init__(self, steps):
        super().__init__()
        betas = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64)  # porter: ignore[PT204]
        self.register_buffer("betas", betas.float())

def times(t, device):
    if device.type in ("mps", "hpu"):
        return t.to(device, dtype=torch.float32)
    return t.to(device)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for node in (*module.all(ast.Attribute), *module.all(ast.Name)):
            if module.name(node) not in ("torch.float64", "torch.double"):
                continue
            if not _compared(module, node) and not by_device(module, node):
                yield _float64(module, node, "float64")
        for call in module.all(ast.Call):
            if not isinstance(call.func, ast.Attribute) or call.func.attr != "double":
                continue
            if not call.args and not by_device(module, call):
                yield _float64(module, call, ".double() makes float64")
        for test in (*module.all(ast.Compare), *module.all(ast.Call)):
            if _asks_for_mps(test) and _rounds(module, test):
                yield Spot(test, "float64 is avoided on mps alone", devices=("hpu",))


def _float64(module: Module, node: ast.expr, what: str) -> Spot:
    sure, steps = _how_sure(module, node)
    return Spot(node, what, sure, steps, ("hpu",))


def _how_sure(module: Module, node: ast.expr) -> tuple[Sureness, int]:
    """Sure in a buffer; likely in a call with a device and where float32 is the other choice."""
    for parent, child in module.ancestors(node):
        if isinstance(parent, ast.stmt):
            break
        if isinstance(parent, ast.IfExp) and child is parent.orelse:
            return ("likely", 0) if "float32" in names(parent.body) else ("possible", 1)
        if isinstance(parent, ast.Call):
            if isinstance(parent.func, ast.Attribute) and parent.func.attr == "register_buffer":
                return "sure", 0
            device = argument(parent, "device")
            if device is not None and text_of(device) != "cpu":
                return "likely", 0
    return "possible", 1


def _compared(module: Module, node: ast.AST) -> bool:
    """Whether a dtype is only compared with, listed, or a default."""
    for parent, _ in module.ancestors(node):
        if isinstance(parent, (ast.Compare, ast.Dict, ast.arguments, ast.Tuple, ast.List)):
            return True
        if isinstance(parent, ast.keyword) and parent.arg == "default":
            return True
        if isinstance(parent, ast.stmt):
            return isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef))
    return False


def _asks_for_mps(test: ast.AST) -> bool:
    if isinstance(test, ast.Call):
        called = isinstance(test.func, ast.Attribute) and test.func.attr == "startswith"
        return called and len(test.args) == 1 and text_of(test.args[0]) == "mps"
    if not isinstance(test, ast.Compare) or not isinstance(test.ops[0], (ast.Eq, ast.In)):
        return False
    found = strings(test)
    return "mps" in found and "hpu" not in found


def _rounds(module: Module, test: ast.expr) -> bool:
    """Whether float32 is what a test for mps chooses."""
    for parent, child in module.ancestors(test):
        if isinstance(parent, ast.If) and child is parent.test:
            return any("float32" in names(each) for each in parent.body)
        if isinstance(parent, ast.IfExp) and child is parent.test:
            return "float32" in names(parent.body)
        if isinstance(parent, ast.Assign):
            return False
    return False


class HalfScores(Rule):
    code = "PT205"
    name = "half-scores"
    title = "Attention scores are computed in the inputs' dtype"
    mend = "compute scores and softmax in float32 and cast the probabilities back, or use SDPA"
    reasons: ClassVar = {
        "hpu": Reason("note", "bfloat16 keeps the range of scores, but 8 bits of them"),
        "npu": Reason(
            "warning",
            "float16 is the usual half type: scores leave its range before the softmax",
            "Ascend/ModelZoo-PyTorch, built-in/diffusion/diffusers0.18.1",
        ),
    }
    learnt = ("diffusers/0002-fp32-bmm.patch", "ddpm-from-scratch/0007-fp32-bmm.patch")
    before = """\
import torch

def attend(q, k, v):
    scores = torch.bmm(q, k.transpose(1, 2))  # <-
    return torch.bmm(scores.softmax(dim=-1), v)
"""
    after = """\
import torch

def attend(q, k, v):
    scores = torch.bmm(q.float(), k.float().transpose(1, 2))
    return torch.bmm(scores.softmax(dim=-1).to(v.dtype), v)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for found in scores_of(module):
            if not _in_float32(found):
                yield Spot(found.product, "a product that a softmax follows", "likely")


def _in_float32(scores: Scores) -> bool:
    return any(
        (isinstance(each, ast.Attribute) and each.attr in ("float", "float32", "upcast_half"))
        or (isinstance(each, ast.Name) and each.id in ("upcast_half", "fp32", "float32"))
        for operand in scores.operands
        for each in ast.walk(operand)
    )  # fmt: skip


class HalfNorm(Rule):
    code = "PT206"
    name = "half-norm"
    title = "A norm written by hand squares in the inputs' dtype"
    mend = "compute the norm in float32 (x.float()) and cast the result back"
    reasons: ClassVar = {
        "hpu": Reason("note", "bfloat16 keeps the range of squares, but 8 bits of them"),
        "npu": Reason("warning", "float16 squares overflow above 255"),
    }
    learnt = ("diffusers/0003-fp32-norm.patch",)
    before = """\
import torch

def rms_norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight  # <-
"""
    after = """\
import torch

def rms_norm(x, weight):
    half = x.dtype
    x = x.float()
    return (x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)).to(half) * weight
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            if not (isinstance(call.func, ast.Attribute) and call.func.attr in ("mean", "sum")):
                continue
            squared = call.func.value
            if not (_is_square(squared) and _below_a_root(module, call)):
                continue
            if "float" not in names(squared) and "float32" not in names(squared):
                yield Spot(call, "a mean of squares below a root", "likely")


def _is_square(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return isinstance(node.right, ast.Constant) and node.right.value == 2
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        two = [*node.args[:1]]
        power = node.func.attr == "pow" and bool(two) and getattr(two[0], "value", 0) == 2
        return node.func.attr == "square" or power
    return False


def _below_a_root(module: Module, node: ast.AST) -> bool:
    for parent, _ in module.ancestors(node):
        if isinstance(parent, ast.Call) and names(parent.func) & {"sqrt", "rsqrt"}:
            return not (module.called(parent) or "").startswith("numpy.")
        if isinstance(parent, ast.stmt):
            return False
    return False
