"""Write the contract files: ``python -m porter.device.sim.contract.regenerate [WHEEL ...]``.

Without arguments the two wheels are downloaded from PyPI into a temporary folder; with arguments
the given wheel files are read. Nothing of a wheel is installed or imported.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from porter.device.sim.contract import HABANA, HERE, TORCH_NPU
from porter.device.sim.contract.signatures import of_schema
from porter.device.sim.contract.usage import habana_usage
from porter.device.sim.contract.wheel import Symbol, Wheel

REQUIREMENTS = ("torch-npu==2.13.0", "optimum-habana==1.21.2")
_NPU_MODULES = ("torch_npu.npu", "torch_npu.npu.amp", "torch_npu.optim", "torch_npu.contrib")
_OP_TABLES = (
    "torch_npu/csrc/aten/npu_native_functions.yaml",
    "torch_npu/csrc/aten/npu_native_functions_by_codegen.yaml",
)
_EXPOSED = "torch_npu/utils/exposed_api.py"
_DOCUMENTED = "torch_npu/_op_plugin_docs.py"
_TRANSFER = "torch_npu/contrib/transfer_to_npu.py"


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
    return _contract("torch-npu", wheel, {k: _row(v) for k, v in sorted(symbols.items())})


def habana_contract(wheel: Wheel) -> dict[str, Any]:
    """Return every ``habana_frameworks`` name that the optimum-habana wheel uses, and its calls."""
    return _contract("optimum-habana", wheel, habana_usage(wheel))


def transfer_lists(wheel: Wheel) -> dict[str, Any]:
    """Return the lists of names that ``torch_npu.contrib.transfer_to_npu`` wraps."""
    wanted = {
        "torch_fn_white_list": "torch",
        "torch_tensor_fn_white_list": "torch.Tensor",
        "torch_module_fn_white_list": "torch.nn.Module",
        "torch_cuda_fn_white_list": "torch.cuda",
        "device_kwargs_list": "device arguments",
    }
    lists: dict[str, list[str]] = {}
    for node in ast.parse(wheel.text(_TRANSFER)).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            title = wanted.get(node.targets[0].id)
            if title:
                lists[title] = sorted(ast.literal_eval(node.value))
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
    row: dict[str, Any] = {"kind": symbol.kind}
    if symbol.signature:
        row["signature"] = symbol.signature
    if symbol.members:
        row["members"] = dict(sorted(symbol.members.items()))
    return row


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
    for node in ast.parse(wheel.text(_EXPOSED)).body:
        if isinstance(node, ast.Assign):
            return {name for name in ast.literal_eval(node.value) if not name.startswith("_")}
    raise ValueError(f"{_EXPOSED}: no list of public functions")


def _documented(wheel: Wheel) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(wheel.text(_DOCUMENTED))):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            names.add(str(node.args[0].value))
    return names


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
            write(contracts / f"{HABANA}.json", habana_contract(wheel))


def main(arguments: list[str]) -> int:
    if arguments:
        regenerate([Path(a) for a in arguments])
        return 0
    with tempfile.TemporaryDirectory() as folder:
        regenerate([download(r, Path(folder)) for r in REQUIREMENTS])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
