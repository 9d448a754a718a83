"""Flatten the counters of a simulated device, for a whole run and for its sections.

``docs/writing-a-port.md`` lists the names that a recipe's claims use, and
``docs/simulator-accounting.md`` says what they count. Names of lazy graphs are absent in eager mode
and on other devices than ``sim:hpu``, so that a claim on them cannot pass by accident; every other
name is always present, 0 if nothing was counted. Recording and checking by a probe bypass the
device's accounting.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from porter.device import Device

Number = int | float

TOTALS = {
    "cpu_fallback": "cpu_fallback",
    "cpu_fallback_bytes": "cpu_fallback_bytes",
    "host_sync": "host_sync",
    "h2d": "h2d",
    "h2d_bytes": "h2d_bytes",
    "d2h": "d2h",
    "d2h_bytes": "d2h_bytes",
    "d2d": "d2d",
    "d2d_bytes": "d2d_bytes",
    "dynamic_shape": "dynamic_shape",
    "dtype": "missing_dtype",
    "unlisted_dtype": "unlisted_dtype",
    "unwaited_copy": "unwaited_copies",
    "int64_as_int32": "int64_as_int32",
    "fp8_overflow": "fp8_overflow",
    "torchscript": "torchscript_calls",
    "onnx": "onnx_exports",
    "int64_overflow": "int64_overflow",
    "float64_overflow": "float64_overflow",
    "reduced_as_float32": "reduced_as_float32",
    "reduced_inexactly": "reduced_inexactly",
    "not_simulated": "not_simulated",
    "compiled_graph": "compiled_graphs",
    "graph_break": "graph_breaks",
    "recompilation": "recompilations",
    "compile_failed": "failed_compilations",
    "graph_split": "graph_splits",
    "graph_partitions": "graph_partitions",
    "captures": "captures",
    "captured_ops": "captured_ops",
    "unwarmed_capture": "unwarmed_ops",
    "replays": "replays",
    "host_ops_saved": "replayed_ops",
}
"""The simulator's total -> the counter's name."""

GRAPHS = {
    "graphs": "graphs",
    "compilations": "compilations",
    "cache_hits": "graph_cache_hits",
    "disk_hits": "graph_disk_hits",
    "ops": "graph_ops",
    "largest": "largest_graph",
    "pending": "pending_ops",
}
"""Key of the lazy graphs' summary -> the counter's name."""

NOT_SUMS = ("largest_graph", "pending_ops")
"""Figures that do not add up over time; sections do not have them."""


def flat(counted: Mapping[str, Any], migrated: int) -> dict[str, int]:
    """Return ``Device.counters()`` as name -> number; empty for a device that does not count."""
    if not counted["simulated"]:
        return {}
    totals = counted["totals"]
    found = {
        "ops": counted["dispatched"]["ops"],
        "kernels": counted["dispatched"]["kernels"],
        "migrated_calls": migrated,
        **{name: totals.get(total, 0) for total, name in TOTALS.items()},
    }
    if "graphs" in counted:
        found |= {name: counted["graphs"][key] for key, name in GRAPHS.items()}
    # A total that has no name above yet keeps its own.
    found |= {name: number for name, number in totals.items() if name not in TOTALS}
    return found


def counts_of(device: Device) -> dict[str, int]:
    """Return the device's counters so far, flat; nothing on the device changes."""
    return flat(device.counters(), len(migration_log() or ()))


def used_nothing(before: Mapping[str, int], after: Mapping[str, int]) -> bool:
    """Return whether a simulated device ran nothing between two calls of :func:`counts_of`."""
    names = ("ops", "replayed_ops", "h2d")
    return bool(after) and all(after[name] == before.get(name, 0) for name in names)


def migration_log() -> Any:
    """Return this process's log of CUDA calls (:mod:`porter.migrate.log`), or None."""
    migration = sys.modules.get("porter.migrate.migration")
    return migration.current_log() if migration else None


def of_section(before: Mapping[str, int], after: Mapping[str, int], name: str) -> dict[str, int]:
    """Return the counts between two calls of :func:`counts_of`, as ``NAME/counter``."""
    return {
        f"{name}/{counter}": number - before.get(counter, 0)
        for counter, number in after.items()
        if counter not in NOT_SUMS
    }


def per_step(counters: Mapping[str, Number], steps: Mapping[str, int]) -> dict[str, Number]:
    """Return ``NAME/counter_per_step`` for the sections with more than one step.

    ``steps`` is section -> steps, summed over its entries. Whole numbers stay integers.
    """
    found: dict[str, Number] = {}
    for section, count in steps.items():
        if count <= 1:
            continue
        for counter, number in counters.items():
            if counter.startswith(f"{section}/") and "/" not in counter[len(section) + 1 :]:
                share = number / count
                found[f"{counter}_per_step"] = int(share) if share == int(share) else share
    return found
