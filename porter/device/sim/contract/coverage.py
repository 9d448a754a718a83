"""Measure how many of the vendors' published names the simulated modules have."""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import dataclass
from typing import Any

import torch

from porter.device.sim.contract import HABANA, TORCH_NPU, load
from porter.device.sim.contract.signatures import disagreement, function_with, of_object, of_schema


@dataclass(frozen=True)
class Coverage:
    """The names of a contract that the simulated package has, of how many in all."""

    package: str
    version: str
    present: frozenset[str]
    total: int
    disagreements: tuple[str, ...]
    """Simulated names that do not accept the vendor's calls, with the reason."""

    @property
    def sentence(self) -> str:
        """The figure in the words of the documentation."""
        return f"{len(self.present)} of {self.total} names of {self.package} {self.version}"


def measure(kind: str) -> Coverage:
    """Compare the simulated package of device type ``kind``, installed, with its contract."""
    contract = load(HABANA if kind == "hpu" else TORCH_NPU)
    present, problems = set(), []
    for name, row in contract["symbols"].items():
        found, thing = _find(name)
        if found:
            present.add(name)
            problems += [f"{name}: {why}" for why in _problems(row, thing)]
    return Coverage(
        contract["package"],
        contract["version"],
        frozenset(present),
        len(contract["symbols"]),
        tuple(problems),
    )


def _find(name: str) -> tuple[bool, Any]:
    """Look a dotted name up without raising (and counting) what the simulated modules lack."""
    parts = name.split(".")
    importlib.import_module(parts[0])
    thing: Any = sys.modules[parts[0]]
    for at, part in enumerate(parts[1:], 1):
        module = sys.modules.get(".".join(parts[: at + 1]))
        if part in vars(thing):
            thing = getattr(thing, part)
        elif module is not None:
            thing = module
        elif isinstance(thing, type) and hasattr(thing, part):
            thing = getattr(thing, part)
        else:
            return False, None
    return True, thing


def _problems(row: dict[str, Any], thing: Any) -> list[str]:
    if isinstance(thing, torch._ops.OpOverloadPacket):
        _, ours = of_schema(str(thing.default._schema).partition("::")[2])
        theirs = row.get("signature")
        fits = theirs is None or disagreement(theirs, function_with(ours)) is None
        return [] if fits else [f"takes {ours}"]
    problems = []
    if row.get("signature") and callable(thing):
        why = disagreement(row["signature"], thing, bound=row["kind"] == "class")
        problems += [why] if why else []
    for member, signature in row.get("members", {}).items():
        method = inspect.getattr_static(thing, member, None)
        if method is None:
            continue
        if isinstance(method, staticmethod | classmethod):
            bound = isinstance(method, classmethod)
            why = disagreement(signature, getattr(thing, member), bound=bound)
        else:
            why = disagreement(signature, method)
        problems += [f"{member}: {why}"] if why else []
    for count, keywords in row.get("calls", ()):
        why = _refused(thing, count, keywords)
        problems += [why] if why else []
    return problems


def _refused(thing: Any, count: int, keywords: list[str]) -> str | None:
    """Return why a call of the published client would fail, or None."""
    if not callable(thing):
        return "is called, and is not callable"
    signature = of_object(thing)
    if signature is None:
        return None
    named = {keyword: None for keyword in keywords if keyword != "**"}
    bind = signature.bind_partial if count < 0 or "**" in keywords else signature.bind
    try:
        bind(*[None] * max(count, 0), **named)
    except TypeError as error:
        return f"a call with {count} arguments and {sorted(named)}: {error}"
    return None
