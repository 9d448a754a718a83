"""The contract of Gaudi's package, from the vendor's published bridge.

HabanaAI/gaudi-pytorch-bridge holds the Python side of ``habana_frameworks.torch``; its compiled
modules are known by what their bindings register (``m.def``, ``py::class_``), its ops by the
schemas of ``TORCH_LIBRARY(hpu)``, its environment flags by ``scripts/env_flags.yaml``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import yaml

from porter.device.sim.contract.published import (
    Checkout,
    Symbol,
    absolute,
    contract_of,
    of_arguments,
    of_class,
    of_schema,
    row_of,
)

ROOT = "habana_frameworks.torch"
_FOLDER = "habana_frameworks/torch/"
_FLAGS = "scripts/env_flags.yaml"
_INTERNAL = ("_passes", "debug_utils", "compile_backend", "cprofile_wrapper", "test_simple",
             "visualization")  # fmt: skip
"""Parts of module names that no program imports: the compiler's own, and the vendor's tools."""
_COMPILED = {
    "_hpu_C": "hpu/csrc/bindings.cpp",
    "_core_C": "core/bindings.cpp",
    "_hpex_C": "hpex/csrc/bindings.cpp",
    "utils._experimental_C": "utils/experimental/csrc/bindings.cpp",
    "utils._debug_C": "utils/debug/csrc/bindings.cpp",
    "utils._debug_lazy_C": "utils/debug/csrc/bindings_lazy.cpp",
    "utils._debug_eager_C": "utils/debug/csrc/bindings_eager.cpp",
    "utils._event_dispatcher_C": "utils/event_dispatcher/csrc/bindings.cpp",
    "utils._profiler_C": "utils/profiler/csrc/bindings.cpp",
}
"""The compiled modules and the files that bind them."""
_DEF = re.compile(r'\bm\.def\(\s*"(\w+)"(?P<rest>.*?)\);\s*(?=m\.|py::|//|}|auto|$)', re.DOTALL)
_CLASS = re.compile(r'py::(?:class_|enum_)<[^;]*?>\s*\(\s*m,\s*"(\w+)"', re.DOTALL)
_ARG = re.compile(r'py::arg\("(\w+)"\)(\s*=)?')
_LIBRARY = re.compile(r"TORCH_LIBRARY(?:_FRAGMENT)?\(hpu, m\)\s*\{(.*?)\n\}", re.DOTALL)
_SCHEMA = re.compile(r'm\.def\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)', re.DOTALL)


def bridge_contract(bridge: Checkout) -> dict[str, Any]:
    """Return the public names and signatures of ``habana_frameworks.torch``, ops and flags."""
    symbols = {**_modules(bridge), **_compiled(bridge), **_ops(bridge)}
    data = contract_of(
        "gaudi-pytorch-bridge", bridge, {name: row_of(symbols[name]) for name in sorted(symbols)}
    )
    flags = yaml.safe_load(bridge.whole_text(_FLAGS))
    data["environment"] = {n: (row or {}).get("default") for n, row in sorted(flags.items())}
    return data


def _modules(bridge: Checkout) -> dict[str, Symbol]:
    found: dict[str, Symbol] = {}
    modules: dict[str, Symbol] = {}
    for member in bridge.names():
        if not member.startswith(_FOLDER) or not member.endswith(".py"):
            continue
        module = member.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        words = module.removeprefix(ROOT).strip(".").split(".")
        if any(word.startswith("_") or word in _INTERNAL for word in words):
            continue
        for level in range(2, len(module.split(".")) + 1):
            modules[".".join(module.split(".")[:level])] = Symbol("module")
        for name, symbol in _names(bridge, module, frozenset()).items():
            found.setdefault(f"{module}.{name}", symbol)
    return {**modules, **found}  # a class hides the module of its name


def _names(bridge: Checkout, module: str, seen: frozenset[str]) -> dict[str, Symbol]:
    """Return what a module binds: its own definitions and what it imports of the package."""
    member = bridge.module_file(module)
    if member is None or module in seen:
        return {}
    is_package = member.endswith("__init__.py")
    found: dict[str, Symbol] = {}
    for node, mode in _statements(bridge.tree(member).body, None):
        for name, symbol in _bound(bridge, module, node, is_package, seen | {module}):
            if mode is not None:
                symbol = Symbol(symbol.kind, symbol.signature, symbol.members, mode)
            found.setdefault(name, symbol)
    exported = bridge.exported(module)
    return {n: s for n, s in found.items() if not exported or n in exported or s.mode}


def _statements(body: list[ast.stmt], mode: str | None) -> Iterator[tuple[ast.stmt, str | None]]:
    """Yield the statements of a module with the mode that ``if is_lazy():`` puts them into."""
    for node in body:
        if isinstance(node, ast.If):
            lazy = ast.unparse(node.test) == "is_lazy()"
            yield from _statements(node.body, "lazy" if lazy else mode)
            yield from _statements(node.orelse, "eager" if lazy else mode)
        elif isinstance(node, ast.Try):
            yield from _statements(node.body, mode)
        else:
            yield node, mode


def _bound(
    bridge: Checkout, module: str, node: ast.stmt, is_package: bool, seen: frozenset[str]
) -> Iterator[tuple[str, Symbol]]:
    if isinstance(node, ast.FunctionDef):
        if not node.name.startswith("__"):
            yield node.name, Symbol("function", of_arguments(node.args))
    elif isinstance(node, ast.ClassDef):
        yield node.name, of_class(node)
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name) and not target.id.startswith("_"):
                yield target.id, Symbol("value")
    elif isinstance(node, ast.ImportFrom):
        source = absolute(node, module, is_package)
        if source.startswith(ROOT):
            yield from _imported(bridge, source, node.names, seen)


def _imported(
    bridge: Checkout, source: str, aliases: list[ast.alias], seen: frozenset[str]
) -> Iterator[tuple[str, Symbol]]:
    names = _names(bridge, source, seen)
    for alias in aliases:
        if alias.name == "*":
            yield from ((n, s) for n, s in names.items() if not n.startswith("_"))
        elif alias.name in names:
            yield alias.asname or alias.name, names[alias.name]
        elif bridge.module_file(f"{source}.{alias.name}"):
            yield alias.asname or alias.name, Symbol("module")
        else:  # of a compiled module
            yield alias.asname or alias.name, Symbol("value")


def _compiled(bridge: Checkout) -> dict[str, Symbol]:
    found: dict[str, Symbol] = {}
    for module, member in _COMPILED.items():
        text = bridge.text(_FOLDER + member)
        found[f"{ROOT}.{module}"] = Symbol("module")
        for match in _DEF.finditer(text):
            arguments = _ARG.findall(match["rest"])
            shown = ", ".join(f"{name}=None" if default else name for name, default in arguments)
            signature = f"({shown})" if arguments else None
            found[f"{ROOT}.{module}.{match[1]}"] = Symbol("function", signature)
        for match in _CLASS.finditer(text):
            found[f"{ROOT}.{module}.{match[1]}"] = Symbol("class")
    return found


def _ops(bridge: Checkout) -> dict[str, Symbol]:
    """Return the ops of ``torch.ops.hpu``; of an op's overloads the one without a name wins."""
    modes: dict[str, set[str]] = {}
    signatures: dict[str, str] = {}
    for path in sorted(bridge.all_names()):
        if not path.endswith(".cpp") or path.startswith(("tests/", "scripts/")):
            continue
        mode = "eager" if path.startswith("habana_eager/") else "lazy"
        for library in _LIBRARY.findall(bridge.whole_text(path)):
            for literal in _SCHEMA.findall(library):
                schema = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', literal))
                if "->" not in schema:
                    continue
                name, signature = of_schema(re.sub(r"\s+(?=[?,])", "", schema))
                bare, _, overload = name.removeprefix("hpu::").partition(".")
                modes.setdefault(bare, set()).add(mode)
                if not overload or bare not in signatures:
                    signatures[bare] = signature
    return {
        f"torch.ops.hpu.{name}": Symbol(
            "op", signature, mode=next(iter(modes[name])) if len(modes[name]) == 1 else None
        )
        for name, signature in signatures.items()
    }
