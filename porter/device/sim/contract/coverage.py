"""Measure how many of the vendors' published names the simulated modules have."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch

from porter.device.sim.contract import HABANA, TORCH_NPU, load
from porter.device.sim.contract.signatures import disagreement, of_schema

REQUIRED: dict[str, frozenset[str]] = {
    "hpu": frozenset(
        {
            "habana_frameworks.torch.core.mark_step",
            "habana_frameworks.torch.hpex.kernels.FusedSDPA.apply",
            "habana_frameworks.torch.hpex.normalization.FusedClipNorm",
            "habana_frameworks.torch.hpex.optimizers.FusedAdamW",
            "habana_frameworks.torch.hpu.HPUGraph",
            "habana_frameworks.torch.hpu.ModuleCacher",
            "habana_frameworks.torch.hpu.wrap_in_hpu_graph",
            "habana_frameworks.torch.utils.experimental._get_device_type",
        }
    ),
    "npu": frozenset(
        {
            "torch_npu.npu.NPUGraph",
            "torch_npu.npu.amp.GradScaler",
            "torch_npu.npu.config",
            "torch_npu.npu.set_compile_mode",
            "torch_npu.npu_confusion_transpose",
            "torch_npu.npu_format_cast",
            "torch_npu.npu_fusion_attention",
            "torch_npu.npu_geglu",
            "torch_npu.optim.NpuFusedAdamW",
        }
    ),
}
"""Names that must never be missing."""


@dataclass(frozen=True)
class Problem:
    """A simulated name that does not accept the vendor's calls."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


@dataclass(frozen=True)
class Coverage:
    """The names of a contract that the simulated package has, and those it lacks."""

    package: str
    version: str
    present: frozenset[str]
    absent: frozenset[str]
    disagreements: tuple[Problem, ...]
    groups: dict[str, tuple[int, int]]
    """By group of names: how many are present, of how many."""

    @property
    def sentence(self) -> str:
        """The figure in the words of the documentation."""
        total = len(self.present) + len(self.absent)
        return f"{len(self.present)} of {total} names of {self.package} {self.version}"


def measure(kind: str) -> Coverage:
    """Compare the simulated package of device type ``kind``, installed, with its contract."""
    contract = load(HABANA if kind == "hpu" else TORCH_NPU)
    present, absent, problems = set(), set(), []
    groups: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, row in contract["symbols"].items():
        group = groups[_group(name)]
        group[1] += 1
        found, thing = _find(name)
        if not found:
            absent.add(name)
            continue
        present.add(name)
        group[0] += 1
        problems += [Problem(name, why) for why in _problems(row, thing)]
    return Coverage(
        contract["package"],
        contract["version"],
        frozenset(present),
        frozenset(absent),
        tuple(problems),
        {group: (counts[0], counts[1]) for group, counts in groups.items()},
    )


def _group(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "torch_npu":
        return "torch_npu operators" if len(parts) == 2 else ".".join(parts[:-1])
    return ".".join(parts[:3])


def _find(name: str) -> tuple[bool, Any]:
    """Look a dotted name up without raising (and counting) what the simulated modules lack."""
    parts = name.split(".")
    importlib.import_module(parts[0])
    thing: Any = sys.modules[parts[0]]
    for at, part in enumerate(parts[1:], 1):
        module = sys.modules.get(".".join(parts[: at + 1]))
        if part in vars(thing):
            thing = getattr(thing, part)
        elif module is not None:
            thing = module
        elif isinstance(thing, type) and hasattr(thing, part):
            thing = getattr(thing, part)
        else:
            return False, None
    return True, thing


def _problems(row: dict[str, Any], thing: Any) -> list[str]:
    if isinstance(thing, torch._ops.OpOverloadPacket):
        _, ours = of_schema(str(thing.default._schema).partition("::")[2])
        return [] if _same(row.get("signature"), ours) else [f"takes {ours}"]
    problems = []
    if row.get("signature") and callable(thing):
        why = disagreement(row["signature"], thing, bound=row["kind"] == "class")
        problems += [why] if why else []
    for member, signature in row.get("members", {}).items():
        method = inspect.getattr_static(thing, member, None)
        if method is None:
            continue
        if isinstance(method, staticmethod | classmethod):
            bound = isinstance(method, classmethod)
            why = disagreement(signature, getattr(thing, member), bound=bound)
        else:
            why = disagreement(signature, method)
        problems += [f"{member}: {why}"] if why else []
    for count, keywords in row.get("calls", ()):
        why = _refused(thing, count, keywords)
        problems += [why] if why else []
    return problems


def _same(theirs: str | None, ours: str) -> bool:
    if theirs is None:
        return True
    return disagreement(theirs, _callable_with(ours)) is None


def _callable_with(signature: str) -> Any:
    names: dict[str, Any] = {"torch": torch, "inf": float("inf")}
    exec(f"def f{signature}: pass", names)
    return names["f"]


def _refused(thing: Any, count: int, keywords: list[str]) -> str | None:
    """Return why a call of the published client would fail, or None."""
    if not callable(thing):
        return "is called, and is not callable"
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return None
    named = {keyword: None for keyword in keywords if keyword != "**"}
    bind = signature.bind_partial if count < 0 or "**" in keywords else signature.bind
    try:
        bind(*[None] * max(count, 0), **named)
    except TypeError as error:
        return f"a call with {count} arguments and {sorted(named)}: {error}"
    return None
