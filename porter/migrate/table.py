"""Read the vendors' rules for CUDA calls from data files that name their source and date."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Kind = Literal["match", "modified", "unsupported"]
DATA = Path(__file__).parent / "data"
OWN_READING = "porter"
"""The source of a rule that was decided here, from the vendor's definitions."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one CUDA API is served. ``source`` is a key of the data file's ``sources``."""

    kind: Kind
    served: str
    source: str


@dataclass(frozen=True)
class Table:
    """The rules of one vendor."""

    vendor: str
    target: str
    rules: dict[str, Rule]
    device_functions: dict[str, tuple[str, ...]]
    """By owner ("torch", "torch.Tensor", "torch.nn.Module"), the functions that take a device."""

    def is_own_reading(self, api: str) -> bool:
        """Whether nothing that the vendor published shows how ``api`` is served."""
        rule = self.rules.get(api)
        return rule is not None and rule.source == OWN_READING


FILES = {"hpu": "gaudi.json", "npu": "ascend.json"}
"""The rules of Intel's GPU Migration Toolkit, and those of ``torch_npu.contrib.transfer_to_npu``
from its wheel and its documentation."""


@cache
def table_of(target: str) -> Table:
    """Return the table for a target device type, "hpu" or "npu"."""
    data = _read(FILES[target])
    rules = {
        api: Rule(row["kind"], row["served"], row["source"]) for api, row in data["apis"].items()
    }
    # The wheel's lists serve both vendors: which functions take a device is up to PyTorch.
    lists = _read("ascend-transfer.json")["lists"]
    owners = ("torch", "torch.Tensor", "torch.nn.Module")
    functions = {owner: tuple(lists[owner]) for owner in owners}
    return Table(data["vendor"], data["target"], rules, functions)


def _read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((DATA / name).read_text(encoding="utf-8"))
    return data
