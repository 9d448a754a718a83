"""Compare signatures from Python source, from op schemas and of live objects."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_SCHEMA = re.compile(r"^(?P<name>[\w.]+)\((?P<args>.*)\)\s*->\s*(?P<ret>.+)$")


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, how it can be passed, and whether it is optional."""

    name: str
    kind: str  # "positional", "keyword", "*", "**"
    optional: bool


def of_arguments(arguments: ast.arguments) -> str:
    """Return ``(a, b=1, *, c=None)`` for a function's arguments, without annotations."""
    bare = ast.parse(f"def f({ast.unparse(arguments)}): pass").body[0]
    assert isinstance(bare, ast.FunctionDef)
    for argument in ast.walk(bare.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return f"({ast.unparse(bare.args)})"


def of_schema(schema: str) -> tuple[str, str]:
    """Return the op name (with overload) and the Python signature of a native op schema."""
    found = _SCHEMA.match(schema.strip())
    if found is None:
        raise ValueError(f"not an op schema: {schema!r}")
    parts = []
    for part in _split(found["args"]):
        if part == "*":
            parts.append("*")
            continue
        _, _, rest = part.rpartition(" ") if "=" not in part else _before_default(part)
        parts.append(rest)
    return found["name"], f"({', '.join(parts)})"


def _before_default(part: str) -> tuple[str, str, str]:
    left, _, default = part.partition("=")
    name = left.strip().rpartition(" ")[2]
    try:
        value = ast.unparse(ast.parse(default.strip(), mode="eval").body)
    except SyntaxError:
        value = "..."
    if re.fullmatch(r"[A-Za-z_]\w*", value) and value not in ("None", "True", "False"):
        value = repr(value)
    return "", "", f"{name}={value}"


def _split(text: str) -> list[str]:
    """Split a schema's arguments at commas outside brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for at, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "([":
            depth += 1
        elif sign in ")]":
            depth -= 1
        elif sign == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    tail = text[start:].strip()
    return [*parts, tail] if tail else parts


def parameters(signature: str) -> tuple[Parameter, ...]:
    """Return the parameters of a signature text."""
    node = ast.parse(f"def f{signature}: pass").body[0]
    assert isinstance(node, ast.FunctionDef)
    spec = node.args
    plain = [*spec.posonlyargs, *spec.args]
    required = len(plain) - len(spec.defaults)
    found = [Parameter(a.arg, "positional", at >= required) for at, a in enumerate(plain)]
    if spec.vararg:
        found.append(Parameter(spec.vararg.arg, "*", True))
    found += [
        Parameter(a.arg, "keyword", default is not None)
        for a, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    ]
    if spec.kwarg:
        found.append(Parameter(spec.kwarg.arg, "**", True))
    return tuple(found)


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
    theirs = list(parameters(signature))[1 if bound else 0 :]
    theirs_plain = [p for p in theirs if p.kind == "positional"]
    mine = list(live.parameters.values())
    has_star = any(p.kind is p.VAR_POSITIONAL for p in mine)
    has_names = any(p.kind is p.VAR_KEYWORD for p in mine)
    by_position = [p for p in mine if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = {p.name for p in mine if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    for at, wanted in enumerate(theirs_plain):
        if at < len(by_position):
            if by_position[at].name != wanted.name and not (has_star and has_names):
                return f"parameter {at + 1} is {by_position[at].name!r}, not {wanted.name!r}"
        elif not has_star:
            return f"no parameter {wanted.name!r} at position {at + 1}"
    for wanted in theirs:
        if wanted.kind == "keyword" and wanted.name not in by_name and not has_names:
            return f"no keyword {wanted.name!r}"
    needed = {
        p.name
        for p in mine
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    must = {p.name for p in theirs if not p.optional}
    if any(p.kind in ("*", "**") for p in theirs):
        return None
    extra = sorted(needed - must)
    return f"{extra[0]!r} must be given" if extra else None
