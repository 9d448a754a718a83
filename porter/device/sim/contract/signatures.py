"""Compare signatures from Python source, from op schemas and of live objects."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from inspect import Parameter
from typing import Any

_SCHEMA = re.compile(r"^(?P<name>[\w.]+)\((?P<args>.*)\)\s*->\s*(?P<ret>.+)$")
_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


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
        left, equals, default = part.partition("=")
        name = left.strip().rpartition(" ")[2]
        parts.append(f"{name}={_default(default.strip())}" if equals else name)
    return found["name"], f"({', '.join(parts)})"


def _default(text: str) -> str:
    """Return a schema's default value as a Python expression."""
    try:
        value = ast.unparse(ast.parse(text, mode="eval").body)
    except SyntaxError:
        return "..."
    is_name = value.isidentifier() and value not in ("None", "True", "False")
    return repr(value) if is_name else value


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
