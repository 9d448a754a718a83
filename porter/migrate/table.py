"""The vendors' rules for CUDA calls, read from data files that name their source and date."""

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
    """How one CUDA-facing API is served: ``source`` names who says so."""

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
    """Per owner ("torch", "torch.Tensor", "torch.nn.Module") the names that take a device."""

    def rule(self, api: str) -> Rule | None:
        return self.rules.get(api)


@cache
def gaudi() -> Table:
    """The rules of Intel's GPU Migration Toolkit (``data/gaudi.json``)."""
    data = _read("gaudi.json")
    rules = {
        api: Rule(row["kind"], row["served"], row["source"]) for api, row in data["apis"].items()
    }
    return Table(data["vendor"], data["target"], rules, _device_functions())


@cache
def ascend() -> Table:
    """The rules of ``torch_npu.contrib.transfer_to_npu``: its wheel's lists, and its documents."""
    data = _read("ascend.json")
    rules = {
        api: Rule(row["kind"], row["served"], row["source"]) for api, row in data["apis"].items()
    }
    return Table(data["vendor"], data["target"], rules, _device_functions())


def table_of(target: str) -> Table:
    """The table for a target device type, "hpu" or "npu"."""
    return {"hpu": gaudi, "npu": ascend}[target]()


@cache
def _device_functions() -> dict[str, tuple[str, ...]]:
    # The wheel's lists of functions that take a device serve both vendors: what PyTorch functions
    # take a device is a fact of PyTorch's.
    lists = _read("ascend-transfer.json")["lists"]
    return {owner: tuple(lists[owner]) for owner in ("torch", "torch.Tensor", "torch.nn.Module")}


def _read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((DATA / name).read_text(encoding="utf-8"))
    return data
