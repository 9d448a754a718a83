"""Encode ops as tokens, one small tuple per op; a graph's signature is the list of its tokens.

A token is the op's name and its arguments in order: a tensor is the name of its value in this graph
(``%3``), a graph input at its first use that name with shape, strides and dtype; other arguments
stay as they are, keywords become (name, value). Tokens are compared by equality, so equal must mean
same. In Python ``1``, ``1.0`` and ``True`` are equal; the schema fixes the type of most arguments,
and where it does not (``Scalar``, or a number where a tensor may stand) floats and bools are
marked.

The token of an op is built by code generated from its schema when the op first runs: no loop over
arguments, no table of types. That code also compares the token with the one expected at this
position.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from porter.device.sim.core.op_schema import OpFacts

Token = tuple[Any, ...]
After = Callable[[Any, Any, Any], None]

_names = [f"%{number}" for number in range(4096)]

_PLAIN_TYPES = ("int", "bool", "str", "SymInt", "float")
_NOT_TENSORS = frozenset({int, float, bool, complex, type(None)})
_PLAIN_LISTS = ("List[int]", "List[bool]", "List[float]", "List[SymInt]")


def name_of(number: int) -> str:
    """Return the name of a graph's n-th value, shared by all graphs so that comparing is fast."""
    try:
        return _names[number]
    except IndexError:
        _names.extend(f"%{more}" for more in range(len(_names), number + 4096))
        return _names[number]


def describe(tensor: torch.Tensor) -> Token:
    """Return what a compiled graph fixes of an input: shape, strides (or layout) and dtype."""
    if tensor.layout is torch.strided:
        return (tuple(tensor.shape), tensor.stride(), str(tensor.dtype))
    return (tuple(tensor.shape), str(tensor.layout), str(tensor.dtype))


class Tape:
    """The accumulating graph: its value names, its op count and the tokens expected next.

    Tensors are marked with an attribute, ``_porter_value``: (the graph, the value's name in it)
    and, for inputs, their element of the token, kept so that a parameter is described once.

    ``unexpected(position, token)`` is called for every op whose token differs from ``expected`` at
    its position, and for all ops after the first such.
    """

    def __init__(self, unexpected: Callable[[int, Token], None]) -> None:
        self.unexpected = unexpected
        self.start([])

    def start(self, expected: list[Token]) -> None:
        """Begin an empty graph that is expected to hold these tokens."""
        self.graph = object()
        self.count = 0
        self.values = 0
        self.expected = expected
        self.as_expected = True

    def input(self, tensor: Any, value: Any) -> Any:
        """Name a tensor that is new to this graph, and return its element of the token.

        ``value`` is the tensor's mark from another graph, if it has one. An input that has the same
        number in every graph keeps the same element object.
        """
        number = self.values
        self.values = number + 1
        name = name_of(number)
        if value is not None and len(value) == 3:
            element = value[2]
            if element[0] is not name:
                element = (name, element[1])
        else:
            element = (name, describe(tensor))
        tensor._porter_value = (self.graph, name, element)
        return element

    def encode(self, arg: Any) -> Any:
        """Encode an argument whose type the schema leaves open."""
        if type(arg) is float:
            return ("float", arg)
        if isinstance(arg, torch.Tensor):
            value = getattr(arg, "_porter_value", None)
            if value is not None and value[0] is self.graph:
                return value[1]
            return self.input(arg, value)
        if arg is None or type(arg) is int or type(arg) is str:
            return arg
        if isinstance(arg, float):
            return ("float", arg)
        if isinstance(arg, bool):
            return "#true" if arg else "#false"
        if isinstance(arg, (list, tuple)):
            return tuple([self.encode(each) for each in arg])
        if isinstance(arg, torch.Generator):
            return ""  # the seed is an input of the compiled graph, not part of it
        return str(arg)  # dtypes, layouts, memory formats, devices, complex numbers

    def encode_keywords(self, kwargs: dict[str, Any]) -> Token:
        """Encode keyword arguments as (name, value) pairs."""
        return tuple([(name, self.encode(value)) for name, value in kwargs.items()])

    def outputs(self, facts: OpFacts, out: Any) -> None:
        """Name what an op returned, except arguments that it wrote to and handed back."""
        if isinstance(out, (tuple, list)):
            kinds = facts.returns_tensors
            for index, each in enumerate(out):
                if not (facts.mutates and index < len(kinds) and kinds[index] == "written"):
                    self.name_results(each)
        elif torch.Tag.inplace_view in facts.op.tags:
            self.name_results(out)

    def name_results(self, out: Any) -> None:
        """Name fresh tensors in order."""
        if isinstance(out, torch.Tensor):
            out._porter_value = (self.graph, name_of(self.values))  # type: ignore[attr-defined]
            self.values += 1
        elif isinstance(out, (tuple, list)):
            for each in out:
                self.name_results(each)


def result_shapes(out: Any) -> Token:
    """Return the shapes of results whose size depends on data: later ops are compiled for them."""
    several = out if isinstance(out, (tuple, list)) else (out,)
    return ("->", *[tuple(each.shape) for each in several if isinstance(each, torch.Tensor)])


def _argument_lines(position: int, of: str) -> list[str]:
    """Return source that sets ``e<position>`` to the encoding of ``args[position]``."""
    arg, into = f"args[{position}]", f"e{position}"
    is_optional = of.startswith("Optional[")
    of = of.removeprefix("Optional[").removesuffix("]") if is_optional else of
    if of == "Tensor":
        look = [
            "try:",
            "    v = a._porter_value",
            f"    {into} = v[1] if v[0] is graph else tape.input(a, v)",
            "except AttributeError:",
            # torch.div(1.3, x) has a number there too, but seldom: nothing is asked of the others.
            f"    {into} = tape.encode(a) if type(a) in not_tensors else tape.input(a, None)",
        ]
        if position == 0:
            return [f"a = {arg}", *look]
        # A number may stand where a tensor is declared: x * 0.5 is mul.Tensor(x, 0.5).
        otherwise = [f"    {line}" for line in look]
        return [f"a = {arg}", "if type(a) in not_tensors:", f"    {into} = tape.encode(a)",
                "else:", *otherwise]  # fmt: skip
    if of in _PLAIN_TYPES:
        return [f"{into} = {arg}"]
    if of in _PLAIN_LISTS:
        # Lists are made by the caller for this call: kept as they are.
        return [f"a = {arg}", f"{into} = a if type(a) is list or a is None else list(a)"]
    if of == "number":
        return [f"a = {arg}", f"{into} = a if type(a) is int else tape.encode(a)"]
    return [f"{into} = tape.encode({arg})"]


def _result_lines(facts: OpFacts) -> list[str]:
    if facts.returns_tensors in (("fresh",), ("view",)) and not facts.mutates:
        return [
            "n = tape.values",
            "tape.values = n + 1",
            "try:",
            "    out._porter_value = (graph, names[n])",
            "except IndexError:",
            "    out._porter_value = (graph, name_of(n))",
        ]
    only_written = all(kind in ("written", "value") for kind in facts.returns_tensors)
    if only_written and torch.Tag.inplace_view not in facts.op.tags:
        return []  # the results are arguments, which have names already
    return ["tape.outputs(facts, out)"]


def generate(tape: Tape, facts: OpFacts) -> After:
    """Generate the function that adds a run of an op to the tape; it runs for every op."""
    positional = [arg for arg in facts.op._schema.arguments if not arg.kwarg_only]
    lines = ["graph = tape.graph", "count = len(args)"]
    required = 0
    for position, arg in enumerate(positional):
        block = _argument_lines(position, str(arg.real_type))
        if not arg.has_default_value():
            required = position + 1
            lines += block
        else:
            lines += [f"if count > {position}:", *(f"    {line}" for line in block)]
    for count in range(len(positional), required - 1, -1):
        elements = "".join(f"e{position}, " for position in range(count))
        test = "if" if count == len(positional) else "elif"
        if count == required:
            head = [] if count == len(positional) else ["else:"]
        else:
            head = [f"{test} count == {count}:"]
        indent = "    " if head else ""
        lines += [*head, f"{indent}token = (name, {elements})"]
    if facts.has_keywords:
        lines += ["if kwargs:", "    token += tape.encode_keywords(kwargs)"]
    lines += _result_lines(facts)
    if facts.is_dynamic_shape:
        lines.append("token += (result_shapes(out),)")
    lines += [
        "position = tape.count",
        "tape.count = position + 1",
        "if tape.as_expected:",
        "    try:",
        "        if tape.expected[position] == token:",
        "            return",
        "    except IndexError:",
        "        pass",
        "tape.unexpected(position, token)",
    ]
    source = "def after(args, kwargs, out):\n" + "".join(f"    {line}\n" for line in lines)
    names: dict[str, Any] = {
        "tape": tape,
        "name": facts.name,
        "facts": facts,
        "names": _names,
        "not_tensors": _NOT_TENSORS,
        "name_of": name_of,
        "result_shapes": result_shapes,
    }
    exec(compile(source, f"<porter signature of {facts.name}>", "exec"), names)
    after: After = names["after"]
    return after
