"""Whether code knows that there are other devices: what stands before a spot, or around it."""

from __future__ import annotations

import ast
import re

from porter.scan.reading.module import FUNCTIONS, Module, strings

_ACCELERATOR = re.compile(r"(cuda|hpu|npu|xpu|gaudi|ascend)(:\d*)?\Z")
_OTHER = re.compile(r"(hpu|npu)(:\d*)?\Z")
_ASKS_FOR_OTHER = re.compile(r"(^|_)(is_)?(npu|hpu|habana|ascend)(_|$)")
_ASKS_FOR_CUDA = ("torch.cuda.is_available", "torch.cuda.device_count", "torch.cuda.is_initialized")


def by_device(module: Module, node: ast.AST) -> bool:
    """Return whether a test on the kind of accelerator decides that a node runs.

    ``if device.type == "cuda":`` does; a test for the CPU alone leaves every accelerator on its
    other side.
    """
    return any(
        _names_accelerator(module, test) or _is_the_cpu(test, outcome)
        for test, outcome in module.guards(node)
    )


def only_on_the_cpu(module: Module, node: ast.AST) -> bool:
    """Return whether a test leaves a node to the CPU alone."""
    return any(_is_the_cpu(test, outcome) for test, outcome in module.guards(node))


def _is_the_cpu(test: ast.expr, outcome: bool) -> bool:
    """Whether a test with this outcome leaves the CPU alone: ``device.type == "cpu"``."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or "cpu" not in strings(test):
        return False
    return isinstance(test.ops[0], ast.Eq if outcome else ast.NotEq)


def _names_accelerator(module: Module, test: ast.expr) -> bool:
    for each in ast.walk(test):
        if isinstance(each, ast.Compare) and any(map(_ACCELERATOR.match, strings(each))):
            return True
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
            starts = each.func.attr == "startswith" and any(map(_ACCELERATOR.match, strings(each)))
            if starts or _ASKS_FOR_OTHER.search(each.func.attr):
                return True
        if isinstance(each, ast.Name):
            if _ASKS_FOR_OTHER.search(each.id):
                return True
            if any(isinstance(v, ast.Compare) and any(map(_ACCELERATOR.match, strings(v)))
                   for v in module.values(each)):  # fmt: skip
                return True
        if isinstance(each, ast.Attribute) and each.attr in ("is_cuda", "is_hpu", "is_npu"):
            return True
    return False


def if_cuda_is_there(module: Module, node: ast.AST) -> bool:
    """Return whether a node runs only where a CUDA device was found."""
    return any(outcome and asks_for_cuda(module, test) for test, outcome in module.guards(node))


def asks_for_cuda(module: Module, test: ast.expr, depth: int = 2) -> bool:
    """Return whether an expression depends on ``torch.cuda.is_available()`` or its like."""
    for each in ast.walk(test):
        if isinstance(each, ast.Call):
            called = module.called(each) or ""
            if called in _ASKS_FOR_CUDA or called.endswith("is_cuda_available"):
                return True
        if isinstance(each, (ast.Name, ast.Attribute)) and depth:
            values = [value for value in module.values(each) if value is not each]
            if any(asks_for_cuda(module, value, depth - 1) for value in values):
                return True
    return False


def knows_others(module: Module, node: ast.AST) -> bool:
    """Return whether the function around a node, or the file by its imports, knows HPUs or NPUs."""
    if module.vendors:
        return True
    around = next((p for p, _ in module.ancestors(node) if isinstance(p, FUNCTIONS)), None)
    return around is not None and any(map(_OTHER.match, strings(around)))
