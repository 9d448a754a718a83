"""All rules, by code."""

from __future__ import annotations

from collections.abc import Sequence

from porter.errors import BadInput
from porter.scan.reading.rule import Rule
from porter.scan.rules import (
    attention,
    devices,
    draws,
    graphs,
    host_reads,
    operators,
    packages,
    precision,
    processes,
    training,
)

FAMILIES: dict[str, tuple[type[Rule], ...]] = {
    "devices": (devices.DeviceChoice, devices.CudaMethod, devices.CudaCall, devices.CudaTest),
    "precision": (
        precision.AutocastDevice,
        precision.AutocastDtype,
        precision.LossScale,
        precision.Float64,
        precision.HalfScores,
        precision.HalfNorm,
    ),
    "processes": (
        processes.Backend,
        processes.CardOfRank,
        processes.DeviceIds,
        processes.DataParallel,
    ),
    "draws": (draws.Draw, draws.DrawLike, draws.DeviceGenerator),
    "host reads": (host_reads.HostRead, host_reads.OneHot),
    "graphs": (
        graphs.NumberedRead,
        graphs.NumberedTensor,
        graphs.MarkStep,
        graphs.BooleanMask,
        graphs.DynamicShape,
        graphs.Repeats,
    ),
    "operators": (
        operators.OneGroup,
        operators.Atan2,
        operators.Unfold,
        attention.HandAttention,
        attention.DeviceAttention,
        operators.Compile,
    ),
    "training": (
        training.StepInGraph,
        training.Pinning,
        training.MapLocation,
        training.BlockingMove,
    ),
    "packages": (packages.CudaPackage, packages.VendorImport, packages.CudaExtension),
}
"""The rules by family, in the order of their codes."""
RULES: dict[str, type[Rule]] = {rule.code: rule for family in FAMILIES.values() for rule in family}


def chosen_rules(select: Sequence[str], ignore: Sequence[str]) -> list[type[Rule]]:
    """Return the rules whose codes begin with one of ``select`` (all) and none of ``ignore``.

    Raises BadInput for a beginning that no rule has.
    """
    for text in (*select, *ignore):
        find_rules(text)
    return [
        rule
        for code, rule in RULES.items()
        if (not select or code.startswith(tuple(select))) and not code.startswith(tuple(ignore))
    ]


def find_rules(text: str) -> list[type[Rule]]:
    """Return the rules that a code, the beginning of one, or a name means. Raises BadInput."""
    found = [r for r in RULES.values() if r.code.startswith(text.upper()) or r.name == text]
    if not text or not found:
        raise BadInput(f"no rule {text!r}; `porter explain` lists them")
    return found
