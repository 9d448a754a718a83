"""The vendors' published names and signatures, as data; none of their code.

The data files, each with the version of what it was read from:

``torch-npu.json``
    the public names of the torch-npu wheel, read statically (``ast`` over its Python files and the
    op schemas in its ``*.yaml`` tables; nothing of it is imported or run), ``torchair``'s,
    ``torch.ops.npu``'s and ``torch_npu._C``'s among them;
``torchair-options.json``
    the options of ``torchair.CompilerConfig``;
``habana-frameworks.json``
    the names of ``habana_frameworks.torch``, of ``torch.ops.hpu`` and the environment flags, from
    the vendor's published HabanaAI/gaudi-pytorch-bridge; a name of one mode only says so;
``optimum-habana.json``
    every ``habana_frameworks`` name that the vendor's published client uses, and how it calls it.

``python -m porter.device.sim.contract.regenerate`` writes them.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TORCH_NPU = "torch-npu"
TORCHAIR_OPTIONS = "torchair-options"
HABANA = "habana-frameworks"
CLIENT = "optimum-habana"
ALL = (TORCH_NPU, TORCHAIR_OPTIONS, HABANA, CLIENT)

_OF_NAME = {
    "torch_npu": (TORCH_NPU,),
    "torchair": (TORCH_NPU,),
    "torch.ops.npu": (TORCH_NPU,),
    "habana_frameworks": (HABANA, CLIENT),
    "torch.ops.hpu": (HABANA,),
}


@cache
def load(name: str) -> dict[str, Any]:
    """Read the contract file ``name`` (without ``.json``)."""
    data: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return data


def contracts_of(dotted: str) -> list[dict[str, Any]]:
    """Return the contracts that may know a dotted name; the vendor's own comes first."""
    for root, names in _OF_NAME.items():
        if dotted == root or dotted.startswith(f"{root}."):
            return [load(name) for name in names]
    return []


def symbol_of(dotted: str) -> dict[str, Any] | None:
    """Return what is published of a name: kind, signature, members, mode and a client's calls."""
    rows = [c["symbols"][dotted] for c in contracts_of(dotted) if dotted in c["symbols"]]
    return {key: value for row in reversed(rows) for key, value in row.items()} if rows else None


def known_to_vendor(dotted: str) -> str | None:
    """Return the published package that has ``dotted`` ("torch-npu 2.13.0"), or None."""
    for contract in contracts_of(dotted):
        if dotted in contract["symbols"]:
            return f"{contract['package']} {contract['version']}"
    return None
