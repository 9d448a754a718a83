"""The contract of Ascend's package: public names and signatures of the torch-npu wheel."""

from __future__ import annotations

import ast
from typing import Any

import yaml

from porter.device.sim.contract.published import Symbol, Wheel, contract_of, of_schema, row_of

_NPU_MODULES = (
    "torch_npu.npu", "torch_npu.npu.amp", "torch_npu.optim", "torch_npu.contrib",
    "torch_npu.contrib.module", "torch_npu.contrib.function", "torch_npu.utils",
    "torch_npu.profiler", "torchair", "torchair.inference", "torchair.scope", "torchair.ops",
    "torchair.configs.compiler_config",
)  # fmt: skip
"""The modules whose names a program uses. There is no ``torch_npu.npu.profile`` in this wheel."""
_OP_TABLES = (
    "torch_npu/csrc/aten/npu_native_functions.yaml",
    "torch_npu/csrc/aten/npu_native_functions_by_codegen.yaml",
)
_EXPOSED = "torch_npu/utils/exposed_api.py"
_DOCUMENTED = "torch_npu/_op_plugin_docs.py"
_CONFIGS = "torch_npu/dynamo/torchair/configs/"
_TRANSFER = "torch_npu/contrib/transfer_to_npu.py"


def torch_npu_contract(wheel: Wheel) -> dict[str, Any]:
    """Return the public names and signatures of the torch-npu wheel."""
    symbols: dict[str, Symbol] = {}
    schemas = _schemas(wheel)
    for name in sorted(_exposed(wheel) | (_documented(wheel) & schemas.keys())):
        symbols[f"torch_npu.{name}"] = Symbol("op", schemas.get(name))
    for name, signature in sorted(schemas.items()):
        symbols[f"torch.ops.npu.{name}"] = Symbol("op", signature)
    for name in sorted(_from_c(wheel)):
        symbols[f"torch_npu._C.{name}"] = Symbol("value")
    for module in _NPU_MODULES:
        for name in wheel.exported(module) or wheel.defined(module):
            found = wheel.find(module, name)
            symbols[f"{module}.{name}"] = found or Symbol("value")
    return contract_of("torch-npu", wheel, {k: row_of(v) for k, v in symbols.items()})


def transfer_lists(wheel: Wheel) -> dict[str, Any]:
    """Return the functions whose device arguments ``torch_npu.contrib.transfer_to_npu`` maps."""
    wanted = {
        "torch_fn_white_list": "torch",
        "torch_tensor_fn_white_list": "torch.Tensor",
        "torch_module_fn_white_list": "torch.nn.Module",
    }
    lists = {
        wanted[name]: sorted(ast.literal_eval(value))
        for name, value in wheel.assignments(_TRANSFER)
        if name in wanted
    }
    return {
        "package": "torch-npu",
        "version": wheel.version,
        "assigned": _assigned_names(wheel),
        "lists": lists,
    }


def _assigned_names(wheel: Wheel) -> list[str]:
    """Return the names of torch that ``transfer_to_npu`` assigns."""
    found: set[str] = set()
    for node in ast.walk(wheel.tree(_TRANSFER)):
        if isinstance(node, ast.Assign):
            names = (ast.unparse(t) for t in node.targets if isinstance(t, ast.Attribute))
            found.update(name for name in names if name.startswith("torch."))
    return sorted(found)


def _schemas(wheel: Wheel) -> dict[str, str]:
    """Return signatures by op name; of an op's overloads the one without overload name wins."""
    found: dict[str, str] = {}
    for table in _OP_TABLES:
        for section in ("symint", "custom"):  # custom last: it has the defaults
            for entry in yaml.safe_load(wheel.text(table)).get(section) or []:
                if isinstance(entry, str):  # an op of PyTorch's own, by name only
                    continue
                name, signature = of_schema(entry["func"])
                bare, _, overload = name.partition(".")
                if not overload:
                    found[bare] = signature
                else:
                    found.setdefault(bare, signature)
    return found


def _from_c(wheel: Wheel) -> set[str]:
    """Return the names of the compiled module ``torch_npu._C`` that the wheel's Python reads."""
    found: set[str] = set()
    for tree in wheel.trees("torch_npu._C"):
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "torch_npu._C":
                found.update(alias.name for alias in node.names if alias.name != "*")
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "torch_npu._C":
                found.add(node.attr)
    return found


def torchair_options(wheel: Wheel) -> dict[str, Any]:
    """Return the options of ``torchair.CompilerConfig`` by class: default and allowed values.

    An option whose value is the name of a class of this table is a group of options.
    """
    classes: dict[str, dict[str, Any]] = {}
    for member in wheel.names():
        if member.startswith(_CONFIGS) and member.endswith(".py"):
            tree, file = wheel.tree(member), member.rpartition("/")[2].removesuffix(".py")
            known = {
                alias.name: f"{(node.module or '').rpartition('.')[2]}.{alias.name}"
                for node in tree.body
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
            made = [node for node in tree.body if isinstance(node, ast.ClassDef)]
            known |= {node.name: f"{file}.{node.name}" for node in made}
            for node in made:
                if not _is_kind(node):
                    classes[known[node.name]] = _options(node, known)
    groups = {name: rows for name, rows in sorted(classes.items()) if rows}
    return {"package": "torch-npu", "version": wheel.version, "classes": groups}


def _is_kind(node: ast.ClassDef) -> bool:
    """Whether a class is a kind of value, not a group of options."""
    names = [node.name, *map(ast.unparse, node.bases)]
    return any(name.endswith("Value") for name in names)


def _options(node: ast.ClassDef, known: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in node.bases:
        if ast.unparse(base) not in ("NpuBaseConfig", "object"):
            found["<base>"] = known.get(ast.unparse(base), "")
    for each in ast.walk(node):
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Attribute):
            value = each.value
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
                found[each.targets[0].attr] = _option(value, known)
    return found


def _option(call: ast.Call, known: dict[str, str]) -> Any:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if not name.endswith("Value"):
        return known.get(name, name)  # a group
    try:
        values = [ast.literal_eval(each) for each in call.args]
    except ValueError:
        values = [None]
    return [name, *values]


def _exposed(wheel: Wheel) -> set[str]:
    for _, names in wheel.assignments(_EXPOSED):
        return {name for name in ast.literal_eval(names) if not name.startswith("_")}
    raise ValueError(f"{_EXPOSED}: no list of public functions")


def _documented(wheel: Wheel) -> set[str]:
    return {
        str(node.args[0].value)
        for node in ast.walk(ast.parse(wheel.text(_DOCUMENTED)))
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
    }
