"""The vendors' published names and signatures, as data; none of their code.

There are two data files, each with the version of the wheel it was read from:

``torch-npu.json``
    the public names of the torch-npu wheel, read statically (``ast`` over its Python files and the
    op schemas in its ``*.yaml`` tables; nothing of it is imported or run);
``habana-frameworks.json``
    every ``habana_frameworks`` name that the optimum-habana wheel uses, and how it calls it. The
    vendor's own plugin is not on PyPI, so its published client is the best available contract.

``python -m porter.device.sim.contract.regenerate`` writes both.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TORCH_NPU = "torch-npu"
HABANA = "habana-frameworks"


@cache
def load(name: str) -> dict[str, Any]:
    """Read the contract file ``name`` (without ``.json``)."""
    data: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return data


def known_to_vendor(dotted: str) -> str | None:
    """Return the published wheel that has ``dotted`` ("torch-npu 2.13.0"), or None."""
    contract = load(TORCH_NPU if dotted.split(".")[0] == "torch_npu" else HABANA)
    return f"{contract['package']} {contract['version']}" if dotted in contract["symbols"] else None
