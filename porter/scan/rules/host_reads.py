"""PT50x: the host reads a value of the device, and waits for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import ClassVar

from porter.scan.reading.module import Loop, Module, argument, dotted
from porter.scan.reading.rule import Reason, Rule, Spot, Sureness

_STATIC = (
    "v-diffusion/0005-static-graphs.patch",
    "ddpm-from-scratch/0002-static-graphs.patch",
    "diffusion-from-scratch/0002-static-graphs.patch",
)
_WAITS = "the host waits for everything that was launched, and the device then for the host"
STEPS = re.compile(r"(^|_)(step|forward|sample|loss|denoise)(_|$)|^(q|p)_")


class HostRead(Rule):
    code = "PT501"
    name = "host-read"
    title = "A loop reads a tensor's value at every turn"
    mend = (
        "keep values on the device (detach()) and read them together, where they are reported; "
        "keep numbers the host knows already on the host"
    )
    reasons: ClassVar = {
        "hpu": Reason(
            "warning",
            f"{_WAITS}; in lazy mode the graph ends there",
            "docs.habana.ai, Model Performance Optimization Guide",
        ),
        "npu": Reason("warning", _WAITS, "Ascend/ModelZoo-PyTorch, diffusers0.18.1"),
    }
    learnt = (*_STATIC, "diffusers/0008-no-host-sync.patch", "accelerate/0004-no-host-sync.patch")
    before = """\
def train(model, batches, optimizer):
    total = 0.0
    for batch in batches:
        loss = model(batch)
        loss.backward()
        optimizer.step()
        total += loss.item()  # <-
    return total
"""
    after = """\
def train(model, batches, optimizer):
    total = 0.0
    for batch in batches:
        loss = model(batch)
        loss.backward()
        optimizer.step()
        total = total + loss.detach()
    return total.item()
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            if not isinstance(call.func, ast.Attribute) or call.args or call.keywords:
                continue
            read = call.func.attr
            if read not in ("item", "cpu", "tolist"):
                continue
            if (sure := self._where(module, call, read)) is None:
                continue
            yield Spot(call, f".{read}() reads from the device", sure, _seldom(module, call))

    def _where(self, module: Module, call: ast.Call, read: str) -> Sureness | None:
        """Say how sure it is that the read is repeated; None where it is not."""
        assert isinstance(call.func, ast.Attribute)
        if _is_array(module, call.func.value) or module.name(call.func.value):
            return None
        loop = module.loop(call)
        if loop is not None and is_heavy(module, loop):
            return "sure" if read == "item" else "likely"
        function = module.function(call)
        if function is not None and read == "item" and STEPS.search(function.name):
            return "possible"
        return None


def _is_array(module: Module, node: ast.expr) -> bool:
    """Whether a value is surely one of numpy's, or on the CPU already."""
    for value in module.values(node):
        for each in ast.walk(value):
            name = module.name(each) or ""
            if name.startswith("numpy."):
                return True
    walked = (each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute))
    return not {"cpu", "numpy"}.isdisjoint(walked)


def _seldom(module: Module, node: ast.AST) -> int:
    """Return 1 if a test on the step's number decides that a node runs: not at every turn."""
    for test, _ in module.guards(node):
        for each in ast.walk(test):
            if isinstance(each, ast.BinOp) and isinstance(each.op, ast.Mod):
                return 1
            if isinstance(each, (ast.Name, ast.Attribute)):
                last = (dotted(each) or "").rpartition(".")[2]
                if last in ("sync_gradients", "is_main_process", "is_local_main_process"):
                    return 1
    return 0


_MODELS = re.compile(
    r"(^|_)(model|net|unet|vae|encoder|decoder|denoiser|generator|discriminator|backbone)s?"
    r"(_?(fn|ema|t|s))?\Z|^(apply_model|p_sample\w*|denoise\w*|ddim_\w+|q_sample|training_losses)\Z"
)


_VERBS = re.compile(
    r"^_?(add|build|compile|convert|create|export|get|init|load|log|make|new|prepare|push|register|"
    r"save|set|setup|test|unwrap|upload|wrap)_"
)


def model_calls(module: Module, loop: Loop) -> Iterator[ast.Call]:
    """Yield the calls of a loop's own body that run a model or train it, innermost loops' not."""
    for statement in loop.body:
        for each in ast.walk(statement):
            if not isinstance(each, ast.Call) or module.loop(each) is not loop:
                continue
            if is_model_call(module, each):
                yield each


def is_model_call(module: Module, call: ast.Call) -> bool:
    """Return whether a call looks like the run of a model, a backward pass or an update."""
    func = call.func
    last = (dotted(func) or "").rpartition(".")[2]
    if not last or module.called(call) is not None:
        return False
    if last == "backward" and isinstance(func, ast.Attribute):
        return True
    if last == "step" and isinstance(func, ast.Attribute):
        owner = (dotted(func.value) or "").rpartition(".")[2]
        if "sched" in owner:  # a sampler's step takes what the model gave; a learning rate's none
            return len(call.args) + len(call.keywords) > 1
        return bool(re.search(r"optim|opt(_\w+)?\Z|scaler", owner))
    if _VERBS.search(last) or not (call.args or call.keywords):
        return False
    return bool(_MODELS.search(last))


def is_heavy(module: Module, loop: Loop) -> bool:
    """Return whether a loop runs a model, in an inner loop too."""
    return any(
        isinstance(each, ast.Call) and is_model_call(module, each)
        for statement in loop.body
        for each in ast.walk(statement)
    )


class OneHot(Rule):
    code = "PT502"
    name = "one-hot"
    title = "one_hot reads its labels on the host"
    mend = "torch.zeros(n, classes, device=...).scatter_(1, labels[:, None], 1)"
    reasons: ClassVar = {
        "hpu": Reason("warning", f"it checks the labels' range on the host: {_WAITS}"),
        "npu": Reason("warning", f"it checks the labels' range on the host: {_WAITS}"),
    }
    learnt = _STATIC[1:]
    before = """\
import torch.nn.functional as F

def embed(labels, classes):
    return F.one_hot(labels, classes)  # <-
"""
    after = """\
import torch

def embed(labels, classes):
    zeros = torch.zeros(len(labels), classes, device=labels.device)
    return zeros.scatter_(1, labels[:, None], 1)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            if module.called(call) == "torch.nn.functional.one_hot":
                labels = argument(call, "input", 0)
                chained = {getattr(n, "attr", "") for n in ast.walk(labels)} if labels else set()
                if "cpu" not in chained:
                    yield Spot(call, "one_hot")
