"""How many of the vendors' published names the simulated modules have, and whether these accept the
vendors' calls: the signatures of live objects against those of a contract."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

import torch

from porter.device.sim.contract import CLIENT, HABANA, TORCH_NPU, load
from porter.device.sim.contract.published import of_schema
from porter.device.sim.vendors.stub_module import look_up

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


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


CONTRACTS = {"hpu": (HABANA, CLIENT), "npu": (TORCH_NPU,)}
"""The contracts of each device type, the vendor's own first."""


def measure(kind: str, mode: str = "lazy") -> list[Coverage]:
    """Compare the simulated package of device type ``kind``, installed, with its contracts.

    Names that the vendor has in another mode than ``mode`` are left out.
    """
    return [_measure(load(name), mode) for name in CONTRACTS[kind]]


def _measure(contract: dict[str, Any], mode: str) -> Coverage:
    rows = {n: r for n, r in contract["symbols"].items() if r.get("mode", mode) == mode}
    present, problems = set(), []
    for name, row in rows.items():
        found, thing = look_up(name)
        if found:
            present.add(name)
            problems += [f"{name}: {why}" for why in _problems(row, thing)]
    return Coverage(
        contract["package"],
        contract["version"],
        frozenset(present),
        len(rows),
        tuple(problems),
    )


def _problems(row: dict[str, Any], thing: Any) -> list[str]:
    if isinstance(thing, torch._ops.OpOverloadPacket):
        overload = getattr(thing, thing.overloads()[0])  # "default", if it has one
        _, ours = of_schema(str(overload._schema).partition("::")[2])
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


def function_with(signature: str) -> Callable[..., Any]:
    """Return a function with this signature, whose defaults are all None."""
    tree = ast.parse(f"def f{signature}: pass")
    for arguments in ast.walk(tree):
        if isinstance(arguments, ast.arguments):
            arguments.defaults = [ast.Constant(None) for _ in arguments.defaults]
            arguments.kw_defaults = [each and ast.Constant(None) for each in arguments.kw_defaults]
    names: dict[str, Any] = {}
    exec(compile(ast.fix_missing_locations(tree), "<signature>", "exec"), names)
    function: Callable[..., Any] = names["f"]
    return function


def of_object(thing: object) -> inspect.Signature | None:
    """Return the signature of a live function or class, or None if it has none."""
    try:
        return inspect.signature(thing)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def disagreement(signature: str, ours: Callable[..., Any], *, bound: bool = False) -> str | None:
    """Return why a caller written for ``signature`` could not call ``ours``, or None if it can.

    All calls that the vendor allows must work: all parameters by name, the positional ones in their
    order, the optional ones omitted. ``bound``: the first parameter of ``signature`` is the
    instance or class, which the signature of ``ours`` omits.
    """
    live = of_object(ours)
    if live is None:
        return "no signature"
    theirs = list(inspect.signature(function_with(signature)).parameters.values())
    theirs = theirs[1 if bound else 0 :]
    mine = list(live.parameters.values())
    kinds = {p.kind for p in mine}
    has_star, has_names = Parameter.VAR_POSITIONAL in kinds, Parameter.VAR_KEYWORD in kinds
    by_position = [p for p in mine if p.kind in _POSITIONAL]
    by_name = {p.name for p in mine if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    for at, wanted in enumerate(p for p in theirs if p.kind in _POSITIONAL):
        if at < len(by_position):
            if by_position[at].name != wanted.name and not (has_star and has_names):
                return f"parameter {at + 1} is {by_position[at].name!r}, not {wanted.name!r}"
        elif not has_star:
            return f"no parameter {wanted.name!r} at position {at + 1}"
    for wanted in theirs:
        if wanted.kind is wanted.KEYWORD_ONLY and wanted.name not in by_name and not has_names:
            return f"no keyword {wanted.name!r}"
    if any(p.kind in _VARIABLE for p in theirs):
        return None
    extra = sorted(_required(mine) - _required(theirs))
    return f"{extra[0]!r} must be given" if extra else None


def _required(parameters: list[Parameter]) -> set[str]:
    return {p.name for p in parameters if p.default is p.empty and p.kind not in _VARIABLE}
