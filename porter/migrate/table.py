"""Read the vendors' rules for CUDA calls from data files that name their source and date."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Kind = Literal["match", "modified", "unsupported"]
DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Rule:
    """How one CUDA API is served. ``source`` is a key of the data file's ``sources``."""

    kind: Kind
    served: str
    source: str

    @property
    def is_ignored(self) -> bool:
        """The call does nothing (instead of raising)."""
        return self.kind == "unsupported" and self.served == "nothing"


@dataclass(frozen=True)
class Table:
    """The rules of one vendor."""

    vendor: str
    target: str
    rules: dict[str, Rule]
    device_functions: dict[str, tuple[str, ...]]
    """By owner ("torch", "torch.Tensor", "torch.nn.Module"), the functions that take a device."""

    def rule(self, api: str) -> Rule | None:
        return self.rules.get(api)


@cache
def gaudi() -> Table:
    """The rules of Intel's GPU Migration Toolkit (``data/gaudi.json``)."""
    return _table("gaudi.json")


@cache
def ascend() -> Table:
    """The rules of ``torch_npu.contrib.transfer_to_npu``, from its wheel and its documentation."""
    return _table("ascend.json")


def table_of(target: str) -> Table:
    """Return the table for a target device type, "hpu" or "npu"."""
    return {"hpu": gaudi, "npu": ascend}[target]()


def _table(file: str) -> Table:
    data = _read(file)
    rules = {
        api: Rule(row["kind"], row["served"], row["source"]) for api, row in data["apis"].items()
    }
    return Table(data["vendor"], data["target"], rules, _device_functions())


@cache
def _device_functions() -> dict[str, tuple[str, ...]]:
    # The wheel's lists serve both vendors: which functions take a device is up to PyTorch.
    lists = _read("ascend-transfer.json")["lists"]
    return {owner: tuple(lists[owner]) for owner in ("torch", "torch.Tensor", "torch.nn.Module")}


def _read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((DATA / name).read_text(encoding="utf-8"))
    return data
