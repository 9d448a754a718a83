"""PT1xx: code that names CUDA where it means the accelerator."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import ClassVar

from porter.scan.reading.guards import asks_for_cuda, by_device, if_cuda_is_there, knows_others
from porter.scan.reading.module import Module, argument, strings, text_of
from porter.scan.reading.rule import Device, Reason, Rule, Spot

_CUDA = re.compile(r"cuda(:\d*)?\Z")
_MINIMAL = (
    "v-diffusion/0001-minimal.patch",
    "diffusers/0001-minimal.patch",
    "ddpm-from-scratch/0001-minimal.patch",
    "diffusion-from-scratch/0001-minimal.patch",
)
_NO_CUDA = (
    "a PyTorch for this device has no CUDA: the call raises, or the CPU is taken in its place"
)
_MAPPED = (
    "; the vendor's migration of CUDA calls would serve it: docs.habana.ai, GPU Migration Toolkit"
)
_MAPPED_NPU = "; torch_npu.contrib.transfer_to_npu would serve it"
REASONS: dict[Device, Reason] = {
    "hpu": Reason("error", _NO_CUDA + _MAPPED, "docs.habana.ai, PyTorch Model Porting"),
    "npu": Reason("error", _NO_CUDA + _MAPPED_NPU, "Ascend/pytorch README"),
}


def names_cuda(node: ast.AST | None) -> bool:
    """Return whether an expression is the text ``cuda`` or ``cuda:N``, N possibly computed."""
    return bool(_CUDA.match(text_of(node) or ""))


def strength(module: Module, node: ast.AST) -> int:
    """Return by how much a spot is milder: code that asks whether CUDA is there does not crash."""
    return 1 if if_cuda_is_there(module, node) else 0


class DeviceChoice(Rule):
    code = "PT101"
    name = "device-choice"
    title = "A device is chosen by the name of CUDA"
    mend = (
        "take the device from an argument, and import the vendor's package before it is named; a "
        "default may look for the accelerator that is there"
    )
    reasons: ClassVar = REASONS
    learnt = (*_MINIMAL, "stable-diffusion/0001-minimal-changes.patch")
    served = True
    before = """\
import torch

def main(device=None):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # <-
    return torch.zeros(3, device=device)
"""
    after = """\
import torch
from devices import find_device

def main(device=None):
    device = find_device(device)
    return torch.zeros(3, device=device)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        lines = set()
        for node in (*module.all(ast.Constant), *module.all(ast.JoinedStr)):
            if names_cuda(node) and (what := _use(module, node)):
                if by_device(module, node) or knows_others(module, node):
                    continue
                lines.add(node.lineno)
                asked = strength(module, node)
                yield Spot(node, f"{what} {module.source.of(node)}", milder=asked)
        for call in module.all(ast.Call):
            if module.called(call) != "torch.cuda.is_available" or call.lineno in lines:
                continue
            if by_device(module, call) or knows_others(module, call) or _asserted(module, call):
                continue
            if _chooses(module, call, lines):
                yield Spot(call, "without CUDA it goes on as on the CPU", "likely", 1)


def _use(module: Module, node: ast.expr) -> str:
    """Say how a text is used, if it is used as a device; nothing otherwise."""
    child: ast.AST = node
    while isinstance(parent := module.parents.get(child), (ast.IfExp, ast.BinOp, ast.BoolOp)):
        if isinstance(parent, ast.IfExp) and child is parent.test:
            return ""
        child = parent
    if isinstance(parent, ast.keyword):
        call = module.parents[parent]
        called = (module.called(call) or "") if isinstance(call, ast.Call) else ""
        if called.endswith(("autocast", "GradScaler")):
            return ""
        if parent.arg in ("device", "map_location", "device_id", "torch_device"):
            return f"{parent.arg} ="
        is_option = isinstance(call, ast.Call) and any(
            "dev" in (text_of(a) or "") for a in call.args
        )
        return "the option's default is" if parent.arg == "default" and is_option else ""
    if isinstance(parent, ast.Call) and isinstance(child, ast.expr) and child in parent.args:
        if module.called(parent) in ("torch.device", "torch.set_default_device"):
            return "the device is"
        if isinstance(parent.func, ast.Attribute) and parent.func.attr == "to":
            return "moved to"
        return ""
    if isinstance(parent, ast.arguments):
        return "the default device is" if "dev" in _parameter(parent, child) else ""
    if isinstance(parent, (ast.Assign, ast.AnnAssign)):
        targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
        named = " ".join(ast.unparse(target).rpartition(".")[2] for target in targets)
        return "the device is" if re.search(r"dev(ice)?(?!el)", named, re.I) else ""
    return ""


def _parameter(arguments: ast.arguments, default: ast.AST) -> str:
    """Return the name of the parameter that has a default."""
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs = [
        *zip(reversed(positional), reversed(arguments.defaults), strict=False),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return next((arg.arg for arg, value in pairs if value is default), "")


def _asserted(module: Module, node: ast.AST) -> bool:
    return isinstance(module.statement(node), (ast.Assert, ast.Raise))


def _chooses(module: Module, call: ast.Call, lines: set[int]) -> bool:
    """Whether a question for CUDA is the only trace of a choice: no line it guards is found too."""
    statement = module.statement(call)
    end = statement.end_lineno or statement.lineno
    return not any(line in lines for line in range(statement.lineno, end + 1))


class CudaMethod(Rule):
    code = "PT102"
    name = "cuda-method"
    title = "A tensor or module is moved by .cuda()"
    mend = "use .to(device), with the device that was chosen once"
    reasons: ClassVar = REASONS
    learnt = (_MINIMAL[2], _MINIMAL[3])
    served = True
    before = """\
import torch

def load(net, device):
    return net.cuda()  # <-
"""
    after = """\
import torch

def load(net, device):
    return net.to(device)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            if not isinstance(call.func, ast.Attribute) or call.func.attr != "cuda":
                continue
            if not by_device(module, call):
                yield Spot(call, ".cuda() names CUDA", milder=strength(module, call))


_HARMLESS = {
    "empty_cache", "manual_seed", "manual_seed_all", "seed_all", "is_initialized",
    "is_bf16_supported", "amp", "init",
}  # fmt: skip
_OWN_RULES = {"is_available", "amp", "set_device", "device_count", "nccl"}


class CudaCall(Rule):
    code = "PT103"
    name = "cuda-call"
    title = "A function or type of torch.cuda is used"
    mend = (
        "use the device's own module, getattr(torch, device.type), or a small function that does "
        "nothing where the device has no such call"
    )
    reasons: ClassVar = REASONS
    learnt = (_MINIMAL[1],)
    served = True
    before = """\
import torch

def free(device):
    torch.cuda.synchronize()  # <-
    torch.cuda.empty_cache()  # <-
"""
    after = """\
import torch

def free(device):
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()
    if device.type in ("cuda", "npu"):
        getattr(torch, device.type).empty_cache()
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for node in (*module.all(ast.Attribute), *module.all(ast.Name)):
            if isinstance(module.parents.get(node), ast.Attribute):
                continue
            name = module.name(node) or ""
            used = name.removeprefix("torch.cuda.")
            first = used.partition(".")[0]
            if used == name or first in _OWN_RULES or by_device(module, node):
                continue
            quiet = 2 if first in _HARMLESS else 0
            yield Spot(node, name, milder=quiet or strength(module, node))


class CudaTest(Rule):
    code = "PT104"
    name = "cuda-test"
    title = "A branch is taken for CUDA alone"
    mend = 'ask for any accelerator, or name the devices: device.type in ("cuda", "hpu", "npu")'
    reasons: ClassVar = {
        "hpu": Reason("warning", "the branch for an accelerator is not taken on an HPU"),
        "npu": Reason("warning", "the branch for an accelerator is not taken on an NPU"),
    }
    learnt = (_MINIMAL[1],)
    served = True
    before = """\
def check(x):
    if x.device.type == "cuda":  # <-
        raise ValueError("move it to the CPU first")
"""
    after = """\
def check(x):
    if x.device.type in ("cuda", "hpu", "npu"):
        raise ValueError("move it to the CPU first")
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for test in module.all(ast.Compare):
            sides = [test.left, *test.comparators]
            named = any(names_cuda(side) for side in sides) or any(
                isinstance(side, (ast.Tuple, ast.List, ast.Set)) and any(map(names_cuda, side.elts))
                for side in sides
            )
            if named and not all(text_of(side) is not None for side in sides):
                yield from self._spot(module, test)
        for node in module.all(ast.Attribute):
            if node.attr == "is_cuda":
                yield from self._spot(module, node)
        for call in module.all(ast.Call):
            starts = isinstance(call.func, ast.Attribute) and call.func.attr == "startswith"
            if starts and names_cuda(argument(call, "prefix", 0)):
                yield from self._spot(module, call)

    def _spot(self, module: Module, node: ast.expr) -> Iterator[Spot]:
        named = {text.partition(":")[0] for text in strings(_whole(module, node))}
        if named.isdisjoint(("hpu", "npu")) and not (
            knows_others(module, node) or by_device(module, node)
        ):
            milder = 1 if asks_for_cuda(module, _whole(module, node)) else 0
            yield Spot(node, f"{module.source.of(node)} is false on it", "likely", milder)


def _whole(module: Module, node: ast.expr) -> ast.expr:
    """Return the whole condition that a test is part of."""
    while isinstance(parent := module.parents[node], (ast.BoolOp, ast.UnaryOp)):
        node = parent
    return node
