"""Menders of level ``minimal``: the accelerator that is there, in place of CUDA."""

from __future__ import annotations

import ast

from porter.draft.edits import (
    Mended,
    end_of,
    insert,
    line_after,
    new_argument,
    replace,
    start_of,
)
from porter.scan.reading.guards import asks_for_cuda
from porter.scan.reading.module import Loop, Module, argument, dotted, text_of
from porter.scan.reading.rule import Spot
from porter.scan.rules.host_reads import model_calls
from porter.source_text import TextEdit

_CALLED = {"empty_cache": "empty_cache", "synchronize": "synchronize"}


def device_choice(module: Module, spot: Spot) -> Mended | None:
    """``"cuda"`` in a device becomes the accelerator's name, a choice of CUDA or the CPU too."""
    node = spot.node
    if isinstance(node, ast.Call):
        return _is_there(module, node)
    assert isinstance(node, ast.expr)
    if _asks_cuda_itself(module, node):
        return None
    parent = module.parents[node]
    name, whole = _named(module, node)
    if name is None:
        return None
    if isinstance(parent, ast.Call) and len(parent.args) == 2 and parent.args[0] is node:
        if module.called(parent) != "torch.device":
            return None
        span = (*start_of(node), *end_of(parent.args[1]))
        index = module.source.of(parent.args[1])
        return Mended((TextEdit(*span, f"devices.accelerator({index})"),), ("accelerator",))
    if (choice := _choice(module, whole)) is not None:
        made = isinstance(choice.body, ast.Call)
        text = f"{module.source.of(choice.body.func)}({name})" if made else name  # type: ignore[attr-defined]
        return Mended((replace(module, choice, text),), ("accelerator",))
    return Mended((replace(module, whole, name),), ("accelerator",))


def _asks_cuda_itself(module: Module, node: ast.expr) -> bool:
    """Whether a device is an argument of a function of torch.cuda, which knows CUDA's alone."""
    for parent, _ in module.ancestors(node):
        if isinstance(parent, ast.stmt):
            return False
        if isinstance(parent, ast.Call):
            called = module.called(parent) or ""
            if called.startswith("torch.cuda.") and called != "torch.cuda.set_device":
                return True
    return False


def _named(module: Module, node: ast.expr) -> tuple[str | None, ast.expr]:
    """Return what a text ``cuda:N`` becomes, and the node of the whole text."""
    if isinstance(node, ast.Constant):
        index = str(node.value).partition(":")[2]
        if str(node.value) == "cuda:":  # "cuda:" + str(rank)
            parent = module.parents[node]
            if isinstance(parent, ast.BinOp) and isinstance(parent.right, ast.Call):
                added = parent.right
                if dotted(added.func) == "str" and len(added.args) == 1:
                    text = module.source.of(added.args[0])
                    return f"devices.accelerator({text})", parent
            return None, node
        return f"devices.accelerator({index if index.strip('0') else ''})", node
    if isinstance(node, ast.JoinedStr) and len(node.values) == 1:  # f"cuda"
        return _named(module, node.values[0])[0], node
    if isinstance(node, ast.JoinedStr) and len(node.values) == 2:
        value = node.values[1]
        plain = isinstance(value, ast.FormattedValue) and value.format_spec is None
        if plain and value.conversion == -1:  # type: ignore[attr-defined]
            return f"devices.accelerator({ast.unparse(value.value)})", node  # type: ignore[attr-defined]
    return None, node


def _choice(module: Module, node: ast.expr) -> ast.IfExp | None:
    """Return ``X if torch.cuda.is_available() else CPU`` around a device ``X``, if it is one."""
    child: ast.AST = node
    parent = module.parents[child]
    if isinstance(parent, ast.Call) and module.called(parent) == "torch.device":
        child, parent = parent, module.parents[parent]
    if not isinstance(parent, ast.IfExp) or child is not parent.body:
        return None
    other = parent.orelse
    if isinstance(other, ast.Call) and module.called(other) == "torch.device" and other.args:
        other = other.args[0]
    asks = isinstance(parent.test, ast.Call)
    if asks and module.called(parent.test) == "torch.cuda.is_available":  # type: ignore[arg-type]
        return parent if text_of(other) == "cpu" else None
    return None


def _is_there(module: Module, call: ast.Call) -> Mended | None:
    """``if torch.cuda.is_available():`` asks for any accelerator, if its body then works on it."""
    statement = module.parents[call]
    if isinstance(statement, ast.Assert) and statement.test is call:
        return Mended((replace(module, call, 'devices.accelerator() != "cpu"'),), ("accelerator",))
    if not isinstance(statement, ast.If) or statement.test is not call:
        return None
    for each in (node for line in statement.body for node in ast.walk(line)):
        name = module.name(each) if isinstance(each, ast.Attribute) else None
        outer = isinstance(module.parents[each], ast.Attribute) if name else True
        if name and not outer and name.startswith("torch.cuda."):
            used = name.removeprefix("torch.cuda.")
            if used not in (*_CALLED, "set_device", "device_count"):
                return None
    return Mended((replace(module, call, 'devices.accelerator() != "cpu"'),), ("accelerator",))


def cuda_method(module: Module, spot: Spot) -> Mended | None:
    """``.cuda()`` becomes ``.to(...)``: a local device, else the accelerator."""
    call = spot.node
    assert isinstance(call, ast.Call)
    others = [module.source.of(each) for each in call.keywords if each.arg != "device"]
    which = argument(call, "device", 0)
    if which is None:
        target = "device" if _has_local_device(module, call) else "devices.accelerator()"
    elif isinstance(which, ast.Name) and "dev" in which.id:
        target = module.source.of(which)
    else:
        target = f"devices.accelerator({module.source.of(which)})"
    if len(call.args) > 1:
        return None
    line, column = end_of(call.func)
    edit = TextEdit(
        line, column - len("cuda"), *end_of(call), f"to({', '.join([target, *others])})"
    )
    return Mended((edit,), () if target.partition(".")[0] != "devices" else ("accelerator",))


def _has_local_device(module: Module, node: ast.expr) -> bool:
    """Whether ``device`` is surely a device there: every value of it in the function is one."""
    function = module.function(node)
    body = function if function is not None else module.source.tree
    above = [
        each.value
        for each in module.all(ast.Assign)
        if module.scope(each) is body and each.lineno < node.lineno
        if any(isinstance(target, ast.Name) and target.id == "device" for target in each.targets)
    ]
    return bool(above) and all(_is_device(module, value) for value in above)


def _is_device(module: Module, value: ast.expr) -> bool:
    if isinstance(value, ast.IfExp):
        return _is_device(module, value.body) and _is_device(module, value.orelse)
    return isinstance(value, ast.Call) and module.called(value) == "torch.device"


def cuda_call(module: Module, spot: Spot) -> Mended | None:
    """``torch.cuda.empty_cache()`` and its like become the helper's."""
    node = spot.node
    name = (module.name(node) or "").removeprefix("torch.cuda.")
    call = module.parents[node]
    if name not in _CALLED or not isinstance(call, ast.Call) or call.args or call.keywords:
        return None
    return Mended((replace(module, node, f"devices.{name}"),), (name,))


def autocast(module: Module, spot: Spot) -> Mended | None:
    """CUDA's autocast becomes the accelerator's, with the options that it had."""
    call = spot.node
    if not isinstance(call, ast.Call) or (called := module.called(call)) is None:
        return None
    if called.startswith("torch.cuda."):
        if len(call.args) > 1:
            return None
        return Mended((replace(module, call.func, "devices.autocast"),), ("autocast",))
    kind = argument(call, "device_type", 0)
    if kind is None or len(call.args) > 1 or any(each.arg is None for each in call.keywords):
        return None
    kept = [module.source.of(each) for each in call.keywords if each.value is not kind]
    edit = replace(module, call, f"devices.autocast({', '.join(kept)})")
    return Mended((edit,), ("autocast",))


def backend(module: Module, spot: Spot) -> Mended | None:
    """``"nccl"`` becomes the backend of the accelerator."""
    node = spot.node
    parent = module.parents[node]
    if isinstance(parent, ast.Compare) or spot.sure != "sure":
        return None
    if isinstance(parent, ast.IfExp):
        other = parent.orelse if parent.body is node else parent.body
        if text_of(other) != "gloo" or parent.test is node:
            return None
        if parent.orelse is node and not asks_for_cuda(module, parent.test, 0):
            return None
        node = parent
    return Mended((replace(module, node, "devices.backend()"),), ("backend",))


def card_of_rank(module: Module, spot: Spot) -> Mended | None:
    """``torch.cuda.set_device(rank)`` and ``device_count()`` become the helper's."""
    call = spot.node
    assert isinstance(call, ast.Call)
    name = (module.called(call) or "").rpartition(".")[2]
    wanted = 1 if name == "set_device" else 0
    if len(call.args) != wanted or call.keywords:
        return None
    return Mended((replace(module, call.func, f"devices.{name}"),), (name,))


def device_ids(module: Module, spot: Spot) -> Mended | None:
    """Device ids are given where a process sees several cards."""
    call = spot.node
    assert isinstance(call, ast.Call)
    ids = argument(call, "device_ids", 1)
    if not isinstance(ids, ast.List):
        return None
    text = f"devices.device_ids({module.source.of(ids)})"
    return Mended((replace(module, ids, text),), ("device_ids",))


def map_location(_: Module, spot: Spot) -> Mended | None:
    """A checkpoint is loaded to the CPU."""
    assert isinstance(spot.node, ast.Call)
    if spot.sure == "possible":
        return None
    edit = new_argument(spot.node, 'map_location="cpu"')
    return None if edit is None else Mended((edit,))


def float64(module: Module, spot: Spot) -> Mended | None:
    """What the code does for mps, which lacks float64 too, it does for a Gaudi."""
    node = spot.node
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq):
        right = node.comparators[0]
        if len(node.ops) > 1 or text_of(right) != "mps":
            return None
        quote = module.source.of(right)[0]
        span = (*end_of(node.left), *end_of(node))
        return Mended((TextEdit(*span, f" in ({quote}mps{quote}, {quote}hpu{quote})"),))
    if isinstance(node, ast.Call) and text_of(argument(node, "", 0)) == "mps":
        quote = module.source.of(node.args[0])[0]
        text = f"({quote}mps{quote}, {quote}hpu{quote})"
        return Mended((replace(module, node.args[0], text),))
    parent = module.parents[node]
    if (
        isinstance(parent, ast.IfExp)
        and parent.orelse is node
        and isinstance(parent.test, ast.Name)
    ):
        values = module.values(parent.test)
        if len(values) == 1 and isinstance(test := values[0], ast.Compare):
            right = test.comparators[0]
            if len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq) and text_of(right) == "mps":
                quote = module.source.of(right)[0]
                text = f" or {module.source.of(test.left)} == {quote}hpu{quote}"
                return Mended((insert(end_of(parent.test), text),))
    return None


def mark_step(module: Module, spot: Spot) -> Mended | None:
    """A mark after the backward pass and the update; without them at the end of the step."""
    loop = spot.node
    assert isinstance(loop, (ast.For, ast.AsyncFor, ast.While))
    after = [module.statement(call) for call in _training(module, loop)]
    if not after:
        after = [loop.body[-1]]
    if any(isinstance(each, (ast.Return, ast.Break, ast.Continue, ast.Raise)) for each in after):
        return None
    edits = [line_after(module, each, "devices.mark_step()") for each in dict.fromkeys(after)]
    if any(edit is None for edit in edits):
        return None
    return Mended(tuple(edit for edit in edits if edit is not None), ("mark_step",))


def _training(module: Module, loop: Loop) -> list[ast.Call]:
    """Return the backward passes and updates of a loop's own body."""
    return [
        call
        for call in model_calls(module, loop)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in ("backward", "step")
        and isinstance(module.parents[call], ast.Expr)
    ]


def cuda_package(module: Module, spot: Spot) -> Mended | None:
    """An import that nothing in the file uses may fail."""
    node = spot.node
    if not isinstance(node, (ast.Import, ast.ImportFrom)) or module.indent_before(node) != "":
        return None
    bound = {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    used = {each.id for each in module.all(ast.Name)}
    if bound & (used | {"*"}):
        return None
    end = module.line_end
    text = f"try:{end}    {module.source.of(node)}{end}except ModuleNotFoundError:{end}    pass"
    return Mended((replace(module, node, text),))
