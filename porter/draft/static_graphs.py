"""Menders of level ``static-graphs``: a step's number is data on the device, no constant."""

from __future__ import annotations

import ast

from porter.draft.edits import (
    Mended,
    end_of,
    insert,
    new_argument,
    replace,
    without_argument,
)
from porter.scan.reading.module import Module, argument
from porter.scan.reading.rule import Spot


def optimizer(_: Module, spot: Spot) -> Mended | None:
    """Adam counts its steps in a tensor where a lazy graph would hold the number."""
    call = spot.node
    assert isinstance(call, ast.Call)
    if argument(call, "fused") is not None or spot.sure != "sure":
        return None
    edit = new_argument(call, "capturable=devices.capturable()")
    return None if edit is None else Mended((edit,), ("capturable",))


def numbered_read(module: Module, spot: Spot) -> Mended | None:
    """A schedule is read by an index that is data, not a number in the graph."""
    node = spot.node
    if not isinstance(node, ast.Subscript) or spot.sure != "sure":
        return None
    values, index = module.source.of(node.value), module.source.of(node.slice)
    return Mended((replace(module, node, f"devices.at({values}, {index})"),), ("at",))


def numbered_tensor(module: Module, spot: Spot) -> Mended | None:
    """A tensor of the step's number is filled on the CPU and moved."""
    call = spot.node
    assert isinstance(call, ast.Call)
    by_name = {each.arg: each for each in call.keywords}
    if module.called(call) != "torch.full" or "device" not in by_name or None in by_name:
        return None
    if by_name.keys() & {"out", "requires_grad", "layout", "pin_memory"}:
        return None
    edit = without_argument(module, call, by_name["device"])
    if edit is None:
        return None
    to = insert(end_of(call), f".to({module.source.of(by_name['device'].value)})")
    return Mended((edit, to))
