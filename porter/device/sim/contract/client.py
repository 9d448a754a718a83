"""The names of a vendor's package that its published client uses, and how it calls them."""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import Any

from porter.device.sim.contract.published import Wheel

_HABANA = "habana_frameworks"


def habana_usage(wheel: Wheel) -> dict[str, Any]:
    """Return every ``habana_frameworks`` name that the wheel uses, with the arguments of its calls:
    ``{dotted name: {"calls": [[positional, [keywords...]], ...]}}``."""
    used: set[str] = set()
    calls: dict[str, set[tuple[int, tuple[str, ...]]]] = defaultdict(set)
    trees = wheel.trees()
    assigned = _assigned_to_self(trees)
    for tree in trees:
        aliases = _aliases(tree) | assigned
        used.update(_aliases(tree).values())
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
                if name := _dotted(node, aliases):
                    used.add(name)
            elif isinstance(node, ast.Call) and (called := _dotted(node.func, aliases)):
                calls[called].add(_shape(node))
    return {
        name: {"calls": [[n, list(k)] for n, k in sorted(calls[name])]} if calls[name] else {}
        for name in sorted(used - {_HABANA})
    }


VENDORS = {
    "hpu": (_HABANA, "torch.hpu", "torch.ops.hpu"),
    "npu": ("torch_npu", "torchair", "torch.npu", "torch.ops.npu"),
}
"""The roots of the vendors' names, by device type."""


def names_used(tree: ast.Module, kind: str) -> set[str]:
    """Return the dotted names of a vendor that a file uses: imported modules and names, and
    attributes of them and of ``torch``, as deep as the file spells them."""
    roots = VENDORS[kind]
    aliases = {"torch": "torch"} | {
        local: name
        for root in {root.split(".")[0] for root in roots}
        for local, name in _aliases(tree, root).items()
    }
    found = set(aliases.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
        elif isinstance(node, ast.Attribute | ast.Name) and (name := _dotted(node, aliases)):
            found.add(name)
    return {name for name in found if any(f"{name}.".startswith(f"{root}.") for root in roots)}


def _aliases(tree: ast.Module, package: str = _HABANA) -> dict[str, str]:
    """Return dotted names by local name, for the file's imports of the package."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == package:
                    found[alias.asname or package] = alias.name if alias.asname else package
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
            for alias in (a for a in node.names if a.name != "*"):
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def _assigned_to_self(trees: list[ast.Module]) -> dict[str, str]:
    """Return ``self.ht -> habana_frameworks.torch`` for every ``self.ht = ht`` in any file."""
    found: dict[str, str] = {}
    for tree in trees:
        aliases = _aliases(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                dotted = aliases.get(node.value.id)
                for target in node.targets:
                    if dotted and isinstance(target, ast.Attribute):
                        found[f"self.{target.attr}"] = dotted
    return found


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return aliases.get(node.id)
    if isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return aliases.get(f"self.{node.attr}")
        head = _dotted(node.value, aliases)
        return f"{head}.{node.attr}" if head else None
    return None


def _shape(call: ast.Call) -> tuple[int, tuple[str, ...]]:
    """Return the positional count (-1 with ``*args``) and keyword names, "**" for ``**kwargs``."""
    stars = any(isinstance(a, ast.Starred) for a in call.args)
    keywords = tuple(sorted(k.arg or "**" for k in call.keywords))
    return (-1 if stars else len(call.args), keywords)
