"""What the vendors' compilers take into a compiled graph, read from what the vendors publish.

    python -m porter.device.sim.accounting.compile_tables hpu BRIDGE_CHECKOUT 1.19.0
    python -m porter.device.sim.accounting.compile_tables npu torch_npu-2.13.0-cp311-...whl

*hpu*: ``hpu_backend`` decomposes what it lists, gives each op of the graph a place ("hpu_cluster"
or "eager"), and cuts the graph with FX's own ``CapabilityBasedPartitioner``
(HabanaAI/gaudi-pytorch-bridge, ``habana_frameworks/torch/dynamo/compile_backend``:
``decomposition.py``, ``shared_layer.py``, ``partitioner.py``). Ops that none of its lists name are
asked of C++; here the table of the device's ops answers
(:mod:`porter.device.sim.accounting.cpu_fallback`).

*npu*: ``torchair`` converts a graph op by op; the wheel has a converter per op, of which most only
raise NotImplementedError. A card refuses such a graph ("max-autotune" mode).

Only names of ops are kept. Nothing of a package is imported or run.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from porter.device.sim.accounting.cpu_fallback import COUNTERPARTS, DATA, op_table
from porter.device.sim.contract.published import Wheel
from porter.device.sim.core.op_schema import facts_of
from porter.errors import BadInput

_BACKEND = "python_packages/habana_frameworks/torch/dynamo/compile_backend"
_CONVERTERS = "torch_npu/dynamo/torchair/_ge_concrete_graph/ge_converter/"
_HPU_LISTS = {
    "hpu_backend_decompositions_list": "decompositions",
    "hpu_supported_op_list": "taken",
    "hpu_fallback_op_list": "eager",
    "hpu_ds_fallback_list": "eager_when_dynamic",
}
"""The bridge's lists and their names in the data file."""


@dataclass(frozen=True)
class CompileTable:
    """What a vendor's compiler takes; names are ``aten.add`` or ``aten.add.Tensor``."""

    device: str
    source: str
    version: str
    decompositions: tuple[str, ...] = ()
    taken: frozenset[str] = frozenset()
    eager: frozenset[str] = frozenset()
    eager_when_dynamic: frozenset[str] = frozenset()

    def refuses(self, op: Any, *, dynamic: bool) -> str | None:
        """Return why the compiler leaves an op out of its graph, or None if it takes it."""
        packet = str(op._overloadpacket)
        packet = COUNTERPARTS.get(packet, packet)
        if packet.startswith("npu."):  # the part of a vendor's operator that is differentiated
            packet = packet.removesuffix("_core")
        name = packet.partition(".")[2]
        if name in self.eager:
            return "the backend runs it eagerly"
        if dynamic and name in self.eager_when_dynamic:
            return "the backend runs it eagerly with dynamic shapes"
        if not self.taken.isdisjoint((str(op), packet, name, packet.rstrip("_"))):
            return None
        if self.device == "npu":
            functional = packet.rstrip("_")
            if op.is_view or any(each.startswith(f"{functional}.") for each in self.taken):
                return None
            return "no converter"
        table = op_table(self.device)
        return None if table is None or table.runs(facts_of(op)) else "the device lacks it"

    def decomposition_table(self) -> dict[Any, Any]:
        """Return PyTorch's own decompositions of the ops that the backend decomposes."""
        return _decompositions(self.decompositions)


@cache
def _decompositions(names: tuple[str, ...]) -> dict[Any, Any]:
    from torch._decomp import get_decompositions

    ops = []
    for name in names:
        _, packet, *overload = name.split(".")
        op = getattr(torch.ops.aten, packet, None)
        op = getattr(op, overload[0], None) if overload else op
        ops += [op] if op is not None else []  # another version of PyTorch had it
    return dict(get_decompositions(ops))


@cache
def compile_table(device: str) -> CompileTable | None:
    """Return the table of a device's compiler; None where any op is taken (cuda: Inductor)."""
    path = DATA / f"{device}_compile.json"
    if not path.is_file():
        return None
    read = json.loads(path.read_text(encoding="utf-8"))
    sets = {
        name: frozenset(read.get(name, ())) for name in ("taken", "eager", "eager_when_dynamic")
    }
    decompositions = tuple(read.get("decompositions", ()))
    return CompileTable(device, read["source"], read["version"], decompositions, **sets)


def _strings(node: ast.expr) -> list[str]:
    """Return the members of a list or set display: texts, and ``aten.NAME`` as text."""
    items = node.elts if isinstance(node, ast.List | ast.Set | ast.Tuple) else []
    return [str(i.value) if isinstance(i, ast.Constant) else ast.unparse(i) for i in items]


def _lists_of(text: str) -> Iterator[tuple[str, list[str]]]:
    for node in ast.walk(ast.parse(text)):
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.Assign) and isinstance(target, ast.Name):
            names = [_HPU_LISTS[target.id]] if target.id in _HPU_LISTS else []
            yield from ((name, _strings(node.value)) for name in names)


def hpu_table(checkout: Path, version: str) -> dict[str, Any]:
    """Return the table from a checkout of the bridge."""
    folder = checkout / _BACKEND
    found: dict[str, list[str]] = {}
    digest = hashlib.sha256()
    for name in ("decomposition.py", "shared_layer.py"):
        if not (folder / name).is_file():
            raise BadInput(f"{folder / name}: expected the bridge's file, found none")
        text = (folder / name).read_text(encoding="utf-8")
        digest.update(text.encode())
        for key, names in _lists_of(text):
            found[key] = sorted(set(names))
    if missing := sorted(set(_HPU_LISTS.values()) - found.keys()):
        raise BadInput(f"{folder}: expected lists of ops for {', '.join(missing)}, found none")
    source = "HabanaAI/gaudi-pytorch-bridge, habana_frameworks/torch/dynamo/compile_backend"
    return {
        "device": "hpu", "source": source, "version": version, "sha256": digest.hexdigest(), **found
    }  # fmt: skip


def _converted(tree: ast.Module) -> Iterable[str]:
    """Yield the ops of a file's converters that do more than raise."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        body = [each for each in node.body if not _is_docstring(each)]
        if body and isinstance(body[0], ast.Raise):
            continue
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("register_fx"):
                name = ast.unparse(call.args[0])
                if name.startswith("torch.ops."):
                    yield name.removeprefix("torch.ops.")


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def npu_table(path: Path) -> dict[str, Any]:
    """Return the table from a torch-npu wheel."""
    wheel = Wheel.open(path)
    members = [n for n in wheel.archive.namelist() if n.startswith(_CONVERTERS)]
    taken = {
        name
        for member in members
        if member.endswith(".py")
        for name in _converted(ast.parse(wheel.text(member)))
    }
    if not taken:
        raise BadInput(f"{path}: expected converters in {_CONVERTERS}, found none")
    return {
        "device": "npu",
        "source": f"torch-npu {wheel.version} wheel from PyPI, {_CONVERTERS}",
        "version": wheel.version,
        "sha256": wheel.sha256(),
        "taken": sorted(taken),
    }


def main(argv: list[str]) -> int:
    """Write ``data/<device>_compile.json``."""
    if argv[:1] == ["npu"] and len(argv) == 2:
        table = npu_table(Path(argv[1]))
    elif argv[:1] == ["hpu"] and len(argv) == 3:
        table = hpu_table(Path(argv[1]), argv[2])
    else:
        print(__doc__, file=sys.stderr)
        return 2
    path = DATA / f"{table['device']}_compile.json"
    path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(f"{path}: {len(table['taken'])} ops from {table['source']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
