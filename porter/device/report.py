"""Print a run's counters as text. The report of a simulated device says that it is simulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_KINDS = {
    "cpu_fallback": "CPU fallbacks",
    "host_sync": "host waits",
    "h2d": "copies to the device",
    "d2h": "copies to the host",
    "d2d": "copies between devices",
    "dynamic_shape": "dynamic shapes",
    "captured_constant": "copies from the host inside a captured graph, made once",
    "unwarmed_capture": "ops that ran for the first time inside a captured graph",
    "dtype": "dtypes the device lacks",
    "unlisted_dtype": "dtypes that the vendor does not list for an op",
    "unwaited_copy": "copies to the host that nothing waited for",
    "int64_as_int32": "copies of int64 that the device holds as int32",
    "fp8_overflow": "float8_e4m3fn beyond the range of the card",
    "torchscript": "TorchScript calls, which the vendor does not support",
    "onnx": "exports to ONNX, which the vendor does not support",
    "int64_overflow": "int64 results beyond the int32 that the card computes in",
    "float64_overflow": "copies of float64 beyond the float32 that the card holds",
    "reduced_as_float32": "collectives that the card computes in float32",
    "reduced_inexactly": "of these, with operands that float32 rounds",
    "compiled_graph": "graphs compiled by torch.compile",
    "graph_break": "graph breaks",
    "recompilation": "recompilations",
    "compile_failed": "frames that torch.compile gave up",
    "graph_split": "ops that the backend does not take into a compiled graph",
    "graph_split_unknown": "graphs of which the cuts are not known",
    "not_simulated": "vendor names looked up that are not simulated",
}
_MOST_SITES = 8


def _kind_lines(kind: str, counters: Mapping[str, Any]) -> Iterator[str]:
    totals = counters["totals"]
    label = _KINDS.get(kind, kind.replace("_", " "))
    size = f", {totals[f'{kind}_bytes']:,} bytes" if f"{kind}_bytes" in totals else ""
    yield f"  {label}: {totals[kind]:,}{size}"
    events = [event for event in counters["events"] if event["kind"] == kind]
    events.sort(key=lambda event: -event["count"])
    for event in events[:_MOST_SITES]:
        detail = f" ({event['detail']})" if event["detail"] else ""
        yield f"    {event['count']:>6} x {event['what']}{detail} at {event['site']}"
    if len(events) > _MOST_SITES:
        yield f"    and at {len(events) - _MOST_SITES} more lines; --json lists them"


def _graph_lines(graphs: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"  graphs: {graphs['graphs']:,}, compilations: {graphs['compilations']:,}, cache hits: "
        f"{graphs['cache_hits']:,}, ops: {graphs['ops']:,}, largest graph: {graphs['largest']:,}"
    )
    if graphs["disk_hits"]:
        yield f"  recipes read from disk: {graphs['disk_hits']:,}"
    if graphs["pending"]:
        yield f"  ops after the last step, launched by nothing: {graphs['pending']:,}"
    for each in graphs["compiled"][:_MOST_SITES]:
        end = f"ended by {each['why']} at {each['ended']}"
        yield f"    compilation {each['number']}: {each['ops']} ops, {end}"
        for line in each["differs"][:2]:
            yield f"      {line}"
    if len(graphs["compiled"]) > _MOST_SITES:
        yield f"    and {len(graphs['compiled']) - _MOST_SITES} more; --json lists them"


def is_idle(counters: Mapping[str, Any]) -> bool:
    """Whether a simulated device got nothing at all: the script stayed on the CPU."""
    if not counters["simulated"] or counters["dispatched"]["ops"]:
        return False
    return not any(map(counters["totals"].get, ("host_ops_saved", "h2d")))


def report_lines(title: str, counters: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a report on ``counters`` (:meth:`porter.device.Device.counters`)."""
    if not counters["simulated"]:
        yield f"{counters['device']}: {title}; a real device counts nothing"
        return
    yield f"{counters['device']}: {title}; simulated counts, no times"
    dispatched = counters["dispatched"]
    yield f"  ops: {dispatched['ops']:,} dispatched, {dispatched['kernels']:,} of them kernels"
    if counters.get("mode") == "eager":
        yield "  eager mode: ops do not accumulate; PT_HPU_LAZY_MODE=1 for lazy graphs"
    if "graphs" in counters:
        yield from _graph_lines(counters["graphs"])
    totals = counters["totals"]
    kinds = [kind for kind in _KINDS if kind in totals]
    for kind in kinds:
        yield from _kind_lines(kind, counters)
    rest = [
        name for name in totals if name not in kinds and name.removesuffix("_bytes") not in kinds
    ]
    for name in rest:
        yield f"  {name.replace('_', ' ')}: {totals[name]:,}"
