"""Write the contract files: ``python -m porter.device.sim.contract.regenerate [WHEEL ...]``.

Without arguments the two wheels are downloaded from PyPI into a temporary folder; with arguments
the given wheel files are read. Nothing of a wheel is installed or imported.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from porter.device.sim.contract import HABANA, HERE, TORCH_NPU

REQUIREMENTS = ("torch-npu==2.13.0", "optimum-habana==1.21.2")
_NPU_MODULES = ("torch_npu.npu", "torch_npu.npu.amp", "torch_npu.optim", "torch_npu.contrib")
_OP_TABLES = (
    "torch_npu/csrc/aten/npu_native_functions.yaml",
    "torch_npu/csrc/aten/npu_native_functions_by_codegen.yaml",
)
_EXPOSED = "torch_npu/utils/exposed_api.py"
_DOCUMENTED = "torch_npu/_op_plugin_docs.py"
_TRANSFER = "torch_npu/contrib/transfer_to_npu.py"
_HABANA = "habana_frameworks"

_SCHEMA = re.compile(r"^(?P<name>[\w.]+)\((?P<args>.*)\)\s*->\s*(?P<ret>.+)$")
_TYPE = re.compile(r"\w+(\([^)]*\))?(\[\d*\])?\??(\[\d*\])?\?? +(?=\w+ *(=|,|$))")
"""The type before an argument's name in a schema: ``Tensor(a!)``, ``int[2]``, ``Tensor?[]``."""


@dataclass(frozen=True)
class Symbol:
    """One public name: its kind and, for a callable, its signature."""

    kind: str  # "function", "class", "op", "value"
    signature: str | None = None
    members: dict[str, str] = field(default_factory=dict)  # public methods of a class


@dataclass(frozen=True)
class Wheel:
    """A wheel file, opened for reading only."""

    path: Path
    archive: zipfile.ZipFile

    @classmethod
    def open(cls, path: Path) -> Wheel:
        return cls(path, zipfile.ZipFile(path))

    @property
    def version(self) -> str:
        return self.path.name.split("-")[1]

    def sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def text(self, member: str) -> str:
        return self.archive.read(member).decode("utf-8", "replace")

    def trees(self) -> list[ast.Module]:
        """Parse every Python file."""
        names = sorted(name for name in self.archive.namelist() if name.endswith(".py"))
        return [ast.parse(self.text(name)) for name in names]

    def assignments(self, member: str) -> Iterator[tuple[str, ast.expr]]:
        """Yield name and value of the assignments at the top of a Python file."""
        for node in ast.parse(self.text(member)).body:
            if isinstance(node, ast.Assign):
                names = (target.id for target in node.targets if isinstance(target, ast.Name))
                yield from ((name, node.value) for name in names)

    def module_file(self, dotted: str) -> str | None:
        """Return the member that holds module ``dotted``."""
        base = dotted.replace(".", "/")
        names = set(self.archive.namelist())
        return next((n for n in (f"{base}.py", f"{base}/__init__.py") if n in names), None)

    def find(self, module: str, name: str, seen: frozenset[str] = frozenset()) -> Symbol | None:
        """Find the definition of ``module.name``, following the wheel's own imports."""
        member = self.module_file(module)
        if member is None or f"{module}.{name}" in seen:
            return None
        seen = seen | {f"{module}.{name}"}
        tree = ast.parse(self.text(member))
        is_package = member.endswith("__init__.py")
        fallback: Symbol | None = None
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
                if node in tree.body:
                    return Symbol("function", of_arguments(node.args))
            elif isinstance(node, ast.ClassDef) and node.name == name:
                return _class(node)
            elif isinstance(node, ast.Assign):
                if any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
                    fallback = fallback or Symbol("value")
            elif isinstance(node, ast.ImportFrom):
                source = absolute(node, module, is_package)
                for alias in node.names:
                    if alias.name == "*" or (alias.asname or alias.name) == name:
                        wanted = name if alias.name == "*" else alias.name
                        found = self.find(source, wanted, seen)
                        if found is not None:
                            return found
        return fallback

    def exported(self, module: str) -> list[str]:
        """Return the names in a module's ``__all__``."""
        member = self.module_file(module)
        rows = self.assignments(member) if member else ()
        return [
            str(v) for name, value in rows if name == "__all__" for v in ast.literal_eval(value)
        ]


def absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """Return the absolute module that a ``from ... import`` names."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    keep = len(parts) - node.level + (1 if is_package else 0)
    return ".".join([*parts[:keep], *([node.module] if node.module else [])])


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
    bare = ast.parse(f"def f({_TYPE.sub('', found['args'])}): pass")
    return found["name"], f"({ast.unparse(_Quoted().visit(bare).body[0].args)})"


class _Quoted(ast.NodeTransformer):
    """Makes the words among a schema's default values texts."""

    def visit_Name(self, node: ast.Name) -> ast.Constant:
        return ast.Constant(node.id)


def _class(node: ast.ClassDef) -> Symbol:
    members, init = {}, None
    for item in node.body:
        if isinstance(item, ast.FunctionDef):
            if item.name in ("__init__", "__new__"):
                init = init or of_arguments(item.args)
            elif not item.name.startswith("_"):
                members[item.name] = of_arguments(item.args)
    return Symbol("class", init, members)


def download(requirement: str, folder: Path) -> Path:
    """Download the wheel of ``requirement`` from PyPI, without its dependencies."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    subprocess.run([*command, str(folder), requirement], check=True)
    stem = requirement.split("==")[0].replace("-", "_")
    return next(folder.glob(f"{stem}-*.whl"))


def torch_npu_contract(wheel: Wheel) -> dict[str, Any]:
    """Return the public names and signatures of the torch-npu wheel."""
    symbols: dict[str, Symbol] = {}
    schemas = _schemas(wheel)
    for name in sorted(_exposed(wheel) | (_documented(wheel) & schemas.keys())):
        symbols[f"torch_npu.{name}"] = Symbol("op", schemas.get(name))
    for module in _NPU_MODULES:
        for name in wheel.exported(module):
            found = wheel.find(module, name)
            symbols[f"{module}.{name}"] = found or Symbol("value")
    return _contract("torch-npu", wheel, {k: _row(v) for k, v in symbols.items()})


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
    return {"package": "torch-npu", "version": wheel.version, "lists": lists}


def _contract(package: str, wheel: Wheel, symbols: dict[str, Any]) -> dict[str, Any]:
    return {
        "package": package,
        "version": wheel.version,
        "wheel": wheel.path.name,
        "sha256": wheel.sha256(),
        "symbols": symbols,
    }


def _row(symbol: Symbol) -> dict[str, Any]:
    return {name: value for name, value in asdict(symbol).items() if value}


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


def _aliases(tree: ast.Module) -> dict[str, str]:
    """Return dotted names by local name, for the file's imports of the package."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == _HABANA:
                    found[alias.asname or _HABANA] = alias.name if alias.asname else _HABANA
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == _HABANA:
            for alias in node.names:
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


def write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def regenerate(wheels: Iterable[Path], contracts: Path = HERE, lists: Path | None = None) -> None:
    """Write the contract files of ``wheels`` (torch-npu, optimum-habana, in any order)."""
    lists = lists or HERE.parents[2] / "migrate" / "data"
    for path in wheels:
        wheel = Wheel.open(path)
        if path.name.startswith("torch_npu"):
            write(contracts / f"{TORCH_NPU}.json", torch_npu_contract(wheel))
            write(lists / "ascend-transfer.json", transfer_lists(wheel))
        else:
            usage = _contract("optimum-habana", wheel, habana_usage(wheel))
            write(contracts / f"{HABANA}.json", usage)


def main(arguments: list[str]) -> int:
    if arguments:
        regenerate([Path(a) for a in arguments])
        return 0
    with tempfile.TemporaryDirectory() as folder:
        regenerate([download(r, Path(folder)) for r in REQUIREMENTS])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
