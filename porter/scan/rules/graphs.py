"""PT51x: what makes each step's graph another one, or its shapes depend on data."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import ClassVar

from porter.scan.reading.module import MARK, Loop, Module, argument, dotted, names
from porter.scan.reading.rule import Reason, Rule, Spot, Sureness
from porter.scan.rules.host_reads import STEPS, is_heavy, model_calls

_STATIC = tuple(
    f"{port}-static-graphs.patch"
    for port in ("v-diffusion/0005", "ddpm-from-scratch/0002", "diffusion-from-scratch/0002")
)
_LAZY = "docs.habana.ai, Model Performance Optimization Guide"
_CONSTANT = Reason(
    "warning", "in lazy mode the number is part of the graph: each step compiles anew", _LAZY
)
_CAPTURED = Reason("note", "a captured graph replays the first step's number at every step")


def loop_numbers(loop: Loop) -> set[str]:
    """Return the names that a ``for`` over ``range`` or ``enumerate`` gives the turn's number."""
    if not isinstance(loop, (ast.For, ast.AsyncFor)):
        return set()
    called = loop.iter
    while isinstance(called, ast.Call):
        last = (dotted(called.func) or "").rpartition(".")[2]
        if last in ("range", "trange", "arange"):
            return {loop.target.id} if isinstance(loop.target, ast.Name) else set()
        if last == "enumerate":
            first = loop.target.elts[0] if isinstance(loop.target, ast.Tuple) else None
            return {first.id} if isinstance(first, ast.Name) else set()
        if last not in ("tqdm", "reversed", "progress_bar", "list") or not called.args:
            break
        called = called.args[0]
    return set()


class NumberedRead(Rule):
    code = "PT511"
    name = "numbered-read"
    title = "A tensor is indexed by the loop's number"
    mend = (
        "keep the number in a tensor on the device and look the schedule up there "
        "(index_select, or schedules rolled by one at each step)"
    )
    reasons: ClassVar = {"hpu": _CONSTANT, "npu": _CAPTURED}
    learnt = _STATIC
    before = """\
import torch

def sample(model, x, steps):
    sigmas = torch.linspace(1, 0, steps)
    for i in range(steps):
        x = x - model(x) * sigmas[i]  # <-
    return x
"""
    after = """\
import torch

def sample(model, x, steps):
    sigmas = torch.linspace(1, 0, steps)
    for _ in range(steps):
        x = x - model(x) * sigmas[:1]
        sigmas = sigmas.roll(-1)
    return x
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for node in module.all(ast.Subscript):
            loop = module.loop(node)
            if loop is None or not isinstance(node.ctx, ast.Load):
                continue
            if not _is_number(node.slice, loop_numbers(loop)) or not is_heavy(module, loop):
                continue
            if sure := _tensor(module, node):
                yield Spot(node, module.source.of(node), sure)


def _is_number(index: ast.expr, numbers: set[str]) -> bool:
    """Whether an index is the loop's number, or computed from it and constants."""
    found = {each.id for each in ast.walk(index) if isinstance(each, ast.Name)}
    plain = (ast.Name, ast.BinOp, ast.UnaryOp, ast.Constant)
    return bool(found) and found <= numbers and isinstance(index, plain)


def _tensor(module: Module, node: ast.Subscript) -> Sureness | None:
    """Say how sure it is that an indexed value is a tensor; None if it seems to be none."""
    values = module.values(node.value)
    if any(isinstance(v, (ast.List, ast.ListComp, ast.Dict, ast.Tuple)) for v in values):
        return None
    for value in values:
        name = module.name(value.func) if isinstance(value, ast.Call) else None
        if name and name.startswith("torch.") and not name.startswith("torch.nn."):
            return "sure"
        if name and name.split(".")[0] in ("numpy", "list", "range"):
            return None
    return "likely" if isinstance(module.parents[node], ast.BinOp) else None


class NumberedTensor(Rule):
    code = "PT512"
    name = "numbered-tensor"
    title = "A tensor is made from the loop's number"
    mend = "make the tensor of all steps' numbers before the loop, and read from it on the device"
    reasons: ClassVar = {"hpu": _CONSTANT, "npu": _CAPTURED}
    learnt = (*_STATIC, "stable-diffusion/0002-hpu-graph.patch")
    before = """\
import torch

def sample(model, x, steps):
    for i in range(steps):
        t = torch.full((len(x),), i, device=x.device)  # <-
        x = model(x, t)
    return x
"""
    after = """\
import torch

def sample(model, x, steps):
    t = torch.zeros(len(x), device=x.device)
    for _ in range(steps):
        x = model(x, t)
        t += 1
    return x
"""

    def find(self, module: Module) -> Iterator[Spot]:
        made = ("torch.full", "torch.tensor", "torch.as_tensor", "torch.full_like")
        for call in module.all(ast.Call):
            if module.called(call) not in made or (loop := module.loop(call)) is None:
                continue
            numbers = loop_numbers(loop)
            if not numbers or not is_heavy(module, loop):
                continue
            value = call.args[-1] if call.args else None
            value = argument(call, "fill_value") or value
            used = names(value) if value is not None else set()
            if used & (numbers | _derived(loop, numbers)):
                yield Spot(call, module.source.of(call))


def _derived(loop: Loop, numbers: set[str]) -> set[str]:
    """Return names that the loop's target or body sets beside the number, or from it."""
    found = set(names(loop.target)) if isinstance(loop, (ast.For, ast.AsyncFor)) else set()
    for statement in loop.body:
        if isinstance(statement, ast.Assign) and names(statement.value) & numbers:
            found |= {t.id for t in statement.targets if isinstance(t, ast.Name)}
    return found


class MarkStep(Rule):
    code = "PT513"
    name = "mark-step"
    title = "A loop runs a model without mark_step"
    mend = (
        "habana_frameworks.torch.core.mark_step() after the model call and at the end of the "
        "step; in training after backward and after the optimizer"
    )
    reasons: ClassVar = {
        "hpu": Reason(
            "warning",
            "in lazy mode the steps become one graph, compiled anew for each number of steps",
            "docs.habana.ai, PyTorch Model Porting",
        )
    }
    learnt = (
        "v-diffusion/0001-minimal.patch",
        "diffusers/0001-minimal.patch",
        "stable-diffusion/0002-hpu-graph.patch",
        "ddpm-from-scratch/0002-static-graphs.patch",
    )
    before = """\
def train(model, batches, optimizer):
    for batch in batches:  # <-
        model(batch).backward()
        optimizer.step()
"""
    after = """\
from devices import mark_step

def train(model, batches, optimizer):
    for batch in batches:
        model(batch).backward()
        mark_step()
        optimizer.step()
        mark_step()
"""

    def find(self, module: Module) -> Iterator[Spot]:
        loops: list[Loop] = [
            *module.all(ast.For),
            *module.all(ast.AsyncFor),
            *module.all(ast.While),
        ]
        for loop in loops:
            calls = list(model_calls(module, loop))
            if not calls or _marks(module, loop):
                continue
            trains = any(
                isinstance(c.func, ast.Attribute) and c.func.attr in ("backward", "step")
                for c in calls
            )
            what = f"{module.source.of(calls[0].func)}(...) in a loop"
            yield Spot(loop, what, "sure" if trains else "likely", devices=("hpu",))


def _marks(module: Module, loop: Loop) -> bool:
    """Whether a loop marks steps: itself, or in a function of the same file that it calls."""
    own = {name for name, called in module.called_by.items() if MARK in called}
    return any(names(statement) & (module.marking | own) for statement in loop.body)


class BooleanMask(Rule):
    code = "PT514"
    name = "boolean-mask"
    title = "A tensor is read or written by a boolean mask"
    mend = "torch.where(mask, value, x) writes; for reads multiply by the mask, or keep the shape"
    reasons: ClassVar = {
        "hpu": Reason(
            "warning", "the shape depends on data: the host waits and the graph ends", _LAZY
        ),
        "npu": Reason("warning", "the shape depends on data: the host waits"),
    }
    learnt = _STATIC[1:]
    before = """\
def drop(x, labels):
    x[labels == 0] = 0  # <-
    return x
"""
    after = """\
import torch

def drop(x, labels):
    return torch.where((labels == 0)[:, None], 0, x)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for node in module.all(ast.Subscript):
            if sure := _is_mask(module, node):
                function, loop = module.function(node), module.loop(node)
                repeated = loop is not None and is_heavy(module, loop)
                if function is not None and (
                    STEPS.search(function.name) or _of_class(module, node)
                ):
                    repeated = True
                yield Spot(node, module.source.of(node), sure, 0 if repeated else 1)


def _of_class(module: Module, node: ast.AST) -> bool:
    """Whether a method of a class holds a node, other than the one that makes its objects."""
    function = module.function(node)
    inside = function is not None and isinstance(module.parents.get(function), ast.ClassDef)
    return inside and function is not None and function.name != "__init__"


def _is_mask(module: Module, node: ast.Subscript) -> Sureness | None:
    """Say how sure it is that an index is a tensor of booleans; None if it is none."""
    index = node.slice
    if _of_numpy(module, node.value) or isinstance(module.parents[node], ast.AnnAssign):
        return None
    if isinstance(index, ast.Compare) and isinstance(
        index.ops[0], (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
    ):
        return "likely"
    if isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.Invert):
        return "likely"
    if isinstance(index, ast.Name) and "mask" in index.id.lower():
        values = module.values(index)
        if any(isinstance(v, ast.Compare) for v in values):
            return "likely"
        return "possible"
    return None


def _of_numpy(module: Module, node: ast.expr) -> bool:
    found = [*module.values(node), node]
    named = (module.name(each) or "" for value in found for each in ast.walk(value))
    return any(name.split(".")[0] in ("numpy", "pandas") for name in named)


class DynamicShape(Rule):
    code = "PT515"
    name = "dynamic-shape"
    title = "The shape of a result depends on data"
    mend = "an op of fixed shape: where with three arguments, a mask that multiplies, topk"
    reasons: ClassVar = {
        "hpu": Reason(
            "warning", "the host waits for the shape, and each shape is another graph", _LAZY
        ),
        "npu": Reason("warning", "the host waits for the shape"),
    }
    learnt = (_STATIC[0],)
    before = """\
import torch

def kept(x, mask):
    return torch.masked_select(x, mask)  # <-
"""
    after = """\
import torch

def kept(x, mask):
    return torch.where(mask, x, 0)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        shaped = ("nonzero", "masked_select", "argwhere", "unique", "unique_consecutive")
        for call in module.all(ast.Call):
            called = module.called(call) or ""
            if called.removeprefix("torch.") in shaped:
                yield Spot(call, called)
            elif called == "torch.where" and len(call.args) == 1 and not call.keywords:
                yield Spot(call, "where with one argument")
            elif (
                not called
                and isinstance(call.func, ast.Attribute)
                and call.func.attr in shaped[:3]
                and not _of_numpy(module, call.func.value)
            ):
                yield Spot(call, f".{call.func.attr}()", "likely")


class Repeats(Rule):
    code = "PT516"
    name = "repeat-interleave"
    title = "repeat_interleave without output_size"
    mend = "output_size=..., which the host knows"
    reasons: ClassVar = {
        "hpu": Reason("warning", "the host reads the repeats to know the shape", _LAZY),
        "npu": Reason("warning", "the host reads the repeats to know the shape"),
    }
    learnt = (_STATIC[0],)
    before = """\
import torch

def widen(x, repeats, n):
    return x.repeat_interleave(repeats, 0)  # <-
"""
    after = """\
import torch

def widen(x, repeats, n):
    return x.repeat_interleave(repeats, 0, output_size=n)
"""

    def find(self, module: Module) -> Iterator[Spot]:
        for call in module.all(ast.Call):
            free = module.called(call) == "torch.repeat_interleave"
            if not free:
                method = isinstance(call.func, ast.Attribute)
                if not method or call.func.attr != "repeat_interleave":  # type: ignore[attr-defined]
                    continue
            repeats = argument(call, "repeats", 1 if free else 0)
            if argument(call, "output_size") is not None or _is_known(module, repeats):
                continue
            yield Spot(call, f"repeats = {module.source.of(repeats or call)}", "possible", 1)


def _is_known(module: Module, node: ast.expr | None) -> bool:
    """Whether repeats are a number that needs no read: a constant, a shape, a configured value."""
    if node is None or isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.BinOp):
        return _is_known(module, node.left) and _is_known(module, node.right)
    if isinstance(node, ast.Call):
        return module.name(node.func) is None and dotted(node.func) in ("len", "int", "round")
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Attribute) and node.value.attr == "shape"
    values = module.values(node)
    return bool(values) and all(
        isinstance(value, (ast.Constant, ast.Subscript, ast.BinOp, ast.Call)) and
        _is_known(module, value) for value in values
    )  # fmt: skip
