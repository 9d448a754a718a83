"""Write the contract files: ``python -m porter.device.sim.contract.regenerate [SOURCE ...]``.

A source is a wheel file (torch-npu, optimum-habana) or a git directory of HabanaAI/gaudi-pytorch
-bridge; each gives its own files. Without arguments the wheels are downloaded from PyPI into a
temporary folder. Nothing is installed or imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from porter.device.sim.contract import CLIENT, HABANA, HERE, TORCH_NPU, TORCHAIR_OPTIONS
from porter.device.sim.contract.ascend import torch_npu_contract, torchair_options, transfer_lists
from porter.device.sim.contract.client import habana_usage
from porter.device.sim.contract.gaudi import bridge_contract
from porter.device.sim.contract.published import Checkout, Wheel, contract_of

REQUIREMENTS = ("torch-npu==2.13.0", "optimum-habana==1.21.2")
BRIDGE = ("1.19.0", "python_packages/")
"""The release of the bridge's newest commit, and the folder of it that holds the package."""


def download(requirement: str, folder: Path) -> Path:
    """Download the wheel of ``requirement`` from PyPI, without its dependencies."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    subprocess.run([*command, str(folder), requirement], check=True)
    stem = requirement.split("==")[0].replace("-", "_")
    return next(folder.glob(f"{stem}-*.whl"))


def write(path: Path, data: dict[str, Any]) -> None:
    """Write a contract file, a symbol a line so that two versions can be compared."""
    head = {name: value for name, value in data.items() if name != "symbols"}
    text = json.dumps(head, indent=1, sort_keys=True)
    if "symbols" in data:
        rows = (f"  {json.dumps(n)}: {json.dumps(r)}" for n, r in sorted(data["symbols"].items()))
        text = text.removesuffix("\n}") + ',\n "symbols": {\n' + ",\n".join(rows) + "\n }\n}"
    path.write_text(text + "\n", encoding="utf-8")


def regenerate(sources: Iterable[Path], contracts: Path = HERE, lists: Path | None = None) -> None:
    """Write the contract files of ``sources``: wheels and a git directory, in any order."""
    lists = lists or HERE.parents[2] / "migrate" / "data"
    for path in sources:
        if path.is_dir():
            bridge = Checkout.open(path, *BRIDGE)
            write(contracts / f"{HABANA}.json", bridge_contract(bridge))
            continue
        wheel = Wheel.open(path)
        if path.name.startswith("torch_npu"):
            write(contracts / f"{TORCH_NPU}.json", torch_npu_contract(wheel))
            write(contracts / f"{TORCHAIR_OPTIONS}.json", torchair_options(wheel))
            write(lists / "ascend-transfer.json", transfer_lists(wheel))
        else:
            usage = contract_of("optimum-habana", wheel, habana_usage(wheel))
            write(contracts / f"{CLIENT}.json", usage)


def main(arguments: list[str]) -> int:
    """Write the files of the given sources, or of the two wheels."""
    if arguments:
        regenerate([Path(a) for a in arguments])
        return 0
    with tempfile.TemporaryDirectory() as folder:
        regenerate([download(r, Path(folder)) for r in REQUIREMENTS])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
