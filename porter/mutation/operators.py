"""The mistakes that porting makes, as edits of a source text.

Each function looks at one syntax node and yields the edits that imitate one mistake there. New text
is put in brackets where needed, so that an edit does not change how its neighbours bind. What
cannot change a result (docstrings, annotations, imports, printing) is left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Final

from porter.mutation.edits import Kind, SourceEdit
from porter.source_text import Node, Source, Span

# Position of the axis among a method's arguments; one more for functions of `torch`.
_FIRST: Final = (
    "sum", "mean", "softmax", "flatten", "unsqueeze", "squeeze", "size", "narrow", "select",
    "index_select", "gather",
)  # fmt: skip
_SECOND: Final = ("roll", "chunk", "split", "repeat_interleave")
_AXIS: Final = dict.fromkeys(_FIRST, 0) | dict.fromkeys(_SECOND, 1)
_AXIS_OF_FUNCTION: Final = {"cat": 1, "stack": 1, "concat": 1}
_AXIS_NAMES: Final = frozenset({"dim", "axis", "start_dim"})
_SHAPES: Final = frozenset({"view", "reshape", "expand", "repeat", "permute", "transpose"})
_PRINTS: Final = frozenset({"print", "warn", "info", "debug", "warning", "log", "write"})
_COMPARE: Final[dict[type[ast.cmpop], tuple[str, str]]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
}
_ORDERED: Final[dict[type[ast.operator], str]] = {
    ast.Sub: "-",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.MatMult: "@",
    ast.Pow: "**",
}
"""Operators whose sides may not be swapped."""
_TERMS: Final = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_DTYPES: Final = {
    "float64": "float32",
    "double": "float32",
    "float32": "bfloat16",
    "float": "bfloat16",
    "float16": "float32",
    "half": "float32",
    "bfloat16": "float16",
}
_CASTS: Final = {"float": "bfloat16", "half": "float", "bfloat16": "half", "double": "float"}
_DRAWS: Final = frozenset({"randn", "rand", "randint", "randn_like", "rand_like", "normal"})
_SILENT_FLAGS: Final = frozenset({"flush", "exist_ok", "parents", "non_blocking", "leave"})
_NEEDED: Final = frozenset({"copy_", "_foreach_copy_", "add_argument", "__init__"})


def edits(source: Source) -> Iterator[SourceEdit]:
    """Yield every edit of a source text, in the order of its nodes."""
    context = NodeContext(source.tree)
    for node in ast.walk(source.tree):
        if node in context.silent:
            continue
        for kind, mistake in _MISTAKES:
            for where, text in mistake(source, node, context):
                span = where if isinstance(where, tuple) else source.span(where)
                yield SourceEdit(*span, text, kind)


Change = tuple[Node | Span, str]
"""What is replaced, and by what."""
Mistake = Callable[[Source, ast.AST, "NodeContext"], Iterator[Change]]


def _off_by_one(source: Source, node: ast.AST, _: NodeContext) -> Iterator[Change]:
    if isinstance(node, ast.Call) and called_name(node.func) == "range" and node.args:
        stop = node.args[0] if len(node.args) == 1 else node.args[1]
        yield stop, f"({source.of(stop)}) - 1"
        yield stop, f"({source.of(stop)}) + 1"
        if len(node.args) > 1:
            yield node.args[0], f"({source.of(node.args[0])}) + 1"
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        if pair := _COMPARE.get(type(node.ops[0])):
            right = node.comparators[0]
            gap = source.between(node.left, right)
            yield gap, source.text(gap).replace(pair[0], pair[1], 1)
    elif isinstance(node, ast.Subscript):
        for number in ast.walk(node.slice):
            if isinstance(number, ast.Constant) and type(number.value) is int:
                yield number, str(number.value + 1)


def _swapped(source: Source, node: ast.AST, _: NodeContext) -> Iterator[Change]:
    if isinstance(node, ast.BinOp) and (operator := _ORDERED.get(type(node.op))):
        if isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
            return  # formatting
        left, right = _bracketed(source, node.left), _bracketed(source, node.right)
        yield node, f"({right} {operator} {left})"
    elif isinstance(node, ast.Call) and called_name(node.func) == "where" and len(node.args) == 3:
        first, second = node.args[1], node.args[2]
        text = f"{source.of(second)}, {source.of(first)}"
        yield (*source.span(first)[:2], *source.span(second)[2:]), text


def _dropped_term(source: Source, node: ast.AST, _: NodeContext) -> Iterator[Change]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, _TERMS):
        if any(isinstance(side, ast.JoinedStr) or is_text(side) for side in ast.walk(node)):
            return
        yield node, _bracketed(source, node.left)
        if isinstance(node.op, ast.Add | ast.Mult):
            yield node, _bracketed(source, node.right)
    elif isinstance(node, ast.BoolOp):
        for dropped in node.values:
            rest = [_bracketed(source, value) for value in node.values if value is not dropped]
            word = " and " if isinstance(node.op, ast.And) else " or "
            yield node, f"({word.join(rest)})"
    elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
        yield node, "pass"
    elif isinstance(node, ast.Call) and called_name(node.func) in _AXIS_OF_FUNCTION and node.args:
        parts = node.args[0]
        if isinstance(parts, ast.List | ast.Tuple) and len(parts.elts) > 1:
            yield parts, f"[{', '.join(map(source.of, parts.elts[:-1]))}]"


def _wrong_axis(_: Source, node: ast.AST, __: NodeContext) -> Iterator[Change]:
    if isinstance(node, ast.Call):
        for axis in axes(node):
            if (value := whole_number(axis)) is not None:
                other = 1 if value == 0 else 0 if value in (1, -1) else value + 1
                yield axis, str(other)


def _wrong_dtype(source: Source, node: ast.AST, _: NodeContext) -> Iterator[Change]:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.value.id == "torch" and node.attr in _DTYPES:
            yield node, f"torch.{_DTYPES[node.attr]}"
    elif isinstance(node, ast.Call) and not node.args and isinstance(node.func, ast.Attribute):
        receiver = source.of(node.func.value)
        if other := _CASTS.get(node.func.attr):
            yield node, receiver
            yield node, f"{receiver}.{other}()"


def _removed_copy(source: Source, node: ast.AST, _: NodeContext) -> Iterator[Change]:
    if isinstance(node, ast.Expr) and _called_alone(node) in ("copy_", "_foreach_copy_"):
        yield node, "pass"
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "clone" and not node.args:
            yield node, source.of(node.func.value)
        elif node.func.attr == "deepcopy" and len(node.args) == 1:
            yield node, source.of(node.args[0])


def _scaled_constant(_: Source, node: ast.AST, context: NodeContext) -> Iterator[Change]:
    if not isinstance(node, ast.Constant) or node in context.index:
        return
    if type(node.value) is float:
        yield node, repr(node.value * 2) if node.value else "1.0"
    elif type(node.value) is int:
        yield node, str(node.value * 2 or 1)


def _dropped_last_batch(source: Source, node: ast.AST, _: NodeContext) -> Iterator[Change]:
    if isinstance(node, ast.Call):
        name = called_name(node.func)
        if name == "range" and len(node.args) == 3:
            stop, step = source.of(node.args[1]), source.of(node.args[2])
            yield node.args[1], f"({stop}) - ({step}) + 1"
        elif name == "ceil" and len(node.args) == 1:
            yield node, f"int({source.of(node.args[0])})"
        elif name in ("min", "max") and len(node.args) == 2:
            for argument in node.args:
                yield node, source.of(argument)
        for keyword in node.keywords:
            if keyword.arg == "drop_last" and isinstance(keyword.value, ast.Constant):
                yield keyword.value, str(not keyword.value.value)
    elif isinstance(node, ast.UnaryOp) and (parts := _rounded_up(node)):
        above, below = map(source.of, parts)
        yield node, f"(({above}) // ({below}))"


def _missing_mark_step(_: Source, node: ast.AST, __: NodeContext) -> Iterator[Change]:
    if isinstance(node, ast.Expr) and _called_alone(node) == "mark_step":
        yield node, "pass"


def _removed_call(_: Source, node: ast.AST, __: NodeContext) -> Iterator[Change]:
    kept = {*_PRINTS, *_NEEDED, "mark_step", None}
    if isinstance(node, ast.Expr) and _called_alone(node) not in kept:
        yield node, "pass"


def _device_moved_back(source: Source, node: ast.AST, _: NodeContext) -> Iterator[Change]:
    if not isinstance(node, ast.Call):
        return
    if isinstance(node.func, ast.Attribute) and node.func.attr == "to":
        receiver = node.func.value
        devices = [a for a in node.args if names_device(a)]
        devices += [k.value for k in node.keywords if k.arg == "device"]
        if devices:
            rest = [source.of(a) for a in node.args if a not in devices]
            rest += [source.of(k) for k in node.keywords if k.arg != "device"]
            before = source.of(receiver)
            moved = f"{before}.to({', '.join(rest)})" if rest else before
            yield node, moved
            if isinstance(receiver, ast.Call) and called_name(receiver.func) in _DRAWS:
                others = [source.of(a) for a in receiver.args]
                others += [source.of(k) for k in receiver.keywords if k.arg != "device"]
                others.append(f"device={source.of(devices[0])}")
                yield node, f"{source.of(receiver.func)}({', '.join(others)})"
    for keyword in node.keywords:
        elsewhere = keyword.arg == "device" and not is_text(keyword.value)
        if elsewhere and called_name(node.func) != "to":
            yield keyword.value, '"cpu"'


def _negated(source: Source, node: ast.AST, _: NodeContext) -> Iterator[Change]:
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        if not is_main_guard(node.test):
            yield node.test, f"not ({source.of(node.test)})"
    elif isinstance(node, ast.comprehension):
        for test in node.ifs:
            yield test, f"not ({source.of(test)})"
    elif isinstance(node, ast.Call):
        for keyword in node.keywords:
            value = keyword.value
            silent = keyword.arg in _SILENT_FLAGS or keyword.arg == "drop_last"
            if not silent and isinstance(value, ast.Constant) and type(value.value) is bool:
                yield value, str(not value.value)


_MISTAKES: Final[tuple[tuple[Kind, Mistake], ...]] = (
    ("off-by-one", _off_by_one),
    ("swapped-operands", _swapped),
    ("dropped-term", _dropped_term),
    ("wrong-axis", _wrong_axis),
    ("wrong-dtype", _wrong_dtype),
    ("removed-copy", _removed_copy),
    ("scaled-constant", _scaled_constant),
    ("dropped-last-batch", _dropped_last_batch),
    ("missing-mark-step", _missing_mark_step),
    ("removed-call", _removed_call),
    ("device-moved-back", _device_moved_back),
    ("negated-condition", _negated),
)


def _bracketed(source: Source, node: ast.expr) -> str:
    text = source.of(node)
    simple = isinstance(node, ast.Name | ast.Constant | ast.Call | ast.Attribute | ast.Subscript)
    return text if simple else f"({text})"


def _called_alone(node: ast.Expr) -> str | None:
    """What a statement calls; None for one that is no call."""
    return called_name(node.value.func) if isinstance(node.value, ast.Call) else None


def _rounded_up(node: ast.UnaryOp) -> tuple[ast.expr, ast.expr] | None:
    """The two numbers of ``-(-a // b)``, which divides and rounds up."""
    match node:
        case ast.UnaryOp(
            ast.USub(), ast.BinOp(ast.UnaryOp(ast.USub(), above), ast.FloorDiv(), below)
        ):
            return above, below
    return None


def called_name(function: ast.expr) -> str:
    """The last part of a called name: ``copy_`` of ``x.copy_(...)``."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def axes(call: ast.Call) -> Iterator[ast.expr]:
    """The arguments of a call that name an axis."""
    for keyword in call.keywords:
        if keyword.arg in _AXIS_NAMES:
            yield keyword.value
    if not isinstance(call.func, ast.Attribute):
        return
    of_module = isinstance(call.func.value, ast.Name) and call.func.value.id in ("torch", "F")
    if of_module and call.func.attr in _AXIS_OF_FUNCTION:
        position = _AXIS_OF_FUNCTION[call.func.attr]
    elif call.func.attr in _AXIS:
        position = _AXIS[call.func.attr] + of_module
    else:
        return
    if position < len(call.args):
        yield call.args[position]


def whole_number(node: ast.expr) -> int | None:
    """The value of a whole number as written (``-1`` too), or None."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = whole_number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    return None


def names_device(node: ast.expr) -> bool:
    if isinstance(node, ast.Name | ast.Attribute):
        return "device" in (node.id if isinstance(node, ast.Name) else node.attr).lower()
    return isinstance(node, ast.Constant) and node.value in ("cuda", "hpu", "npu")


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_main_guard(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and called_name(test.left) == "__name__"


class NodeContext:
    """Which nodes of a tree cannot change a result (``silent``), and which are indices."""

    def __init__(self, tree: ast.AST) -> None:
        self.silent: set[ast.AST] = set()
        self.index: set[ast.AST] = set()  # indices, axes, shapes, ranges
        for node in ast.walk(tree):
            self._visit(node)

    def _visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom) or _only_prints(node):
            self.silent.update(ast.walk(node))
        elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            self.silent.update(ast.walk(node.annotation))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            self.silent.update(ast.walk(node.returns))
        elif isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr):
            self.silent.update(ast.walk(node))
        elif isinstance(node, ast.Subscript):
            self.index.update(ast.walk(node.slice))
        elif isinstance(node, ast.Call):
            name = called_name(node.func)
            if name in _SHAPES or name == "range":
                for argument in node.args:
                    self.index.update(ast.walk(argument))
            for axis in axes(node):
                self.index.update(ast.walk(axis))


def _only_prints(node: ast.AST) -> bool:
    """Whether a statement is a text (a docstring), or only prints or logs."""
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    return isinstance(value, ast.Constant) or (
        isinstance(value, ast.Call) and called_name(value.func) in _PRINTS
    )
