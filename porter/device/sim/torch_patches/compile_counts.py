"""What ``torch.compile`` did: graphs, breaks, recompilations, and where a vendor's backend cuts.

All of it is Dynamo's own: a :class:`CompilationMetrics` record per frame that it compiled, with the
guard that failed if it compiled it before, and ``graph_break_reasons`` with the user's line. They
become events of the simulated device, so that reports, ``--json`` and recipes' claims have them.

Where a backend cuts a graph is found as the vendor's own backend finds it, with FX's
``CapabilityBasedPartitioner`` over the graph's ATen ops and the vendor's lists
(:mod:`porter.device.sim.accounting.compile_tables`). Only the forward is cut: the backward of a
graph with gradients is not traced here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from porter.device.sim.accounting.compile_tables import CompileTable, compile_table
from porter.device.sim.core.machine import Machine, accelerator
from porter.interception.patching import Patches
from porter.interception.source_lines import UNKNOWN, Site, user_site

converted: set[str] = set()
"""Ops that a program registered a converter for (``torchair.register_fx_node_ge_converter``)."""

_OF_TORCH = str(Path(torch.__file__).parent)
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def install_compile_counts(patches: Patches) -> None:
    """Count what Dynamo compiles from now on. Imports Dynamo."""
    from torch._dynamo import convert_frame, utils

    native = utils.record_compilation_metrics
    breaks = _Unseen()

    @functools.wraps(native)
    def record(*args: Any, **kwargs: Any) -> None:
        native(*args, **kwargs)
        machine = accelerator()
        if machine is not None:
            _count_frame(machine, utils.get_compilation_metrics()[-1])
            for reason in breaks.take(utils.graph_break_reasons):
                _count_break(machine, reason)

    patches.replace(utils, "record_compilation_metrics", record)
    if hasattr(utils, "get_metrics_context"):
        context: Any = utils.get_metrics_context()  # this thread's, made before
        patches.replace(context, "_on_exit", record)
    else:  # PyTorch 2.5
        patches.replace(convert_frame, "record_compilation_metrics", record)


class _Unseen:
    """The new items of a list that grows, and that somebody else may clear."""

    def __init__(self) -> None:
        self._seen: list[Any] = []

    def take(self, items: list[Any]) -> list[Any]:
        known = len(self._seen)
        if len(items) < known or any(a is not b for a, b in zip(self._seen, items, strict=False)):
            known = 0
        self._seen = list(items)
        return items[known:]


def _count_frame(machine: Machine, metrics: Any) -> None:
    """Count a record of Dynamo's. PyTorch 2.5 keeps backwards apart, and no guard that failed."""
    is_forward = getattr(metrics, "is_forward", True)
    if getattr(metrics, "is_runtime", False) or is_forward is False:
        return
    if not getattr(metrics, "co_filename", None):
        return
    if metrics.co_filename.startswith(_OF_TORCH):  # a frame of Dynamo's own, around a module
        site = user_site(2)
    else:
        site = Site(metrics.co_filename, int(metrics.co_firstlineno or 0))
    if why := _why_again(metrics):
        guard = why.splitlines()[0]
        machine.counters.event("recompilation", str(metrics.co_name), guard, site=site)
    if metrics.fail_type is not None:
        machine.counters.event("compile_failed", str(metrics.co_name), metrics.fail_type, site=site)
    elif metrics.graph_op_count:
        ops = f"{metrics.graph_op_count} calls"
        machine.counters.event("compiled_graph", str(metrics.co_name), ops, site=site)


def _why_again(metrics: Any) -> str:
    """Return the guard that failed, if the frame was compiled before."""
    if hasattr(metrics, "recompile_reason"):
        return metrics.recompile_reason or ""
    return "PyTorch 2.5 does not record the guard" if metrics.cache_size else ""


def _count_break(machine: Machine, reason: Any) -> None:
    frame = reason.user_stack[-1] if reason.user_stack else None
    site = UNKNOWN if frame is None else Site(frame.filename, int(frame.lineno or 0))
    lines = [line.strip() for line in str(reason.reason).splitlines()]
    why = next((each for each in lines if each.startswith("Explanation: ")), "")
    machine.counters.event("graph_break", lines[0], why.removeprefix("Explanation: "), site=site)


def count_partitions(graph: Any, decompositions: Mapping[Any, Any] | None = None) -> None:
    """Count into how many pieces the vendor's backend would cut a graph of Dynamo's, and why.

    ``decompositions`` are the program's own, besides those of the backend.
    """
    machine = accelerator()
    table = None if machine is None else compile_table(machine.profile.name)
    if machine is None or table is None:
        return
    try:
        traced = _to_aten(graph, {**table.decomposition_table(), **(decompositions or {})})
    except Exception as error:  # the graph runs all the same: the report says what is not known
        text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        machine.counters.event("graph_split_unknown", text, site=UNKNOWN)
        return
    dynamic = any("[s" in str(getattr(n.meta.get("val"), "shape", "")) for n in traced.graph.nodes)
    refused = {}
    for node in traced.graph.nodes:
        if node.op == "call_function" and (why := _why_out(machine, table, node, dynamic)):
            refused[node] = why
            machine.counters.event("graph_split", str(node.target), why, site=_line_of(node))
    machine.counters.add("graph_partitions", len(_partitions(traced, refused)))


def _partitions(traced: Any, refused: dict[Any, str]) -> list[Any]:
    from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
    from torch.fx.passes.operator_support import OperatorSupportBase

    class Taken(OperatorSupportBase):
        def is_node_supported(self, _submodules: Any, node: Any) -> bool:
            return node.op == "call_function" and node not in refused

    partitioner = CapabilityBasedPartitioner(traced, Taken(), allows_single_node_partition=True)
    return list(partitioner.propose_partitions())


def _to_aten(graph: Any, decompositions: dict[Any, Any]) -> Any:
    """Trace a graph of Dynamo's to ATen ops, on the fake tensors that Dynamo made it with."""
    from torch._dispatch.python import enable_python_dispatcher
    from torch._subclasses.fake_tensor import FakeTensor
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.traceback import preserve_node_meta

    inputs = [node.meta["example_value"] for node in graph.graph.nodes if node.op == "placeholder"]
    fake = [each for each in inputs if isinstance(each, FakeTensor)]
    if not fake:
        raise RuntimeError("the graph has no fake inputs")

    class FakeConstants(torch.fx.Interpreter):
        """Stands for a tensor that the graph holds by one of its shape, which has no numbers."""

        def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
            held = super().get_attr(target, args, kwargs)
            if not isinstance(held, torch.Tensor):
                return held
            return torch.empty_strided(
                held.size(), held.stride(), dtype=held.dtype, device=held.device
            )

    run: Callable[..., Any] = FakeConstants(graph).run
    trace = make_fx(run, decompositions, "real", _allow_non_fake_inputs=True)
    # As AOTAutograd: without it a composition inside an operator takes no symbolic sizes
    with fake[0].fake_mode, torch.no_grad(), preserve_node_meta(), enable_python_dispatcher():
        return trace(*inputs)


def _why_out(machine: Machine, table: CompileTable, node: Any, dynamic: bool) -> str | None:
    if not isinstance(node.target, torch._ops.OpOverload):
        return None  # sizes and items of tuples
    if not torch._C._dispatch_has_kernel(node.target._name):
        return None  # aten.size and the like, which the host computes
    value = node.meta.get("val")
    results = value if isinstance(value, tuple | list) else [value]
    tensors = [each for each in results if isinstance(each, torch.Tensor)]
    if isinstance(value, torch.SymInt):
        return None  # aten.sym_size and the like, which the host computes too
    for each in tensors:
        dtype = str(each.dtype).removeprefix("torch.")
        if machine.profile.unsupported_dtypes.get(dtype):
            return f"the device lacks {dtype}"
    if node.target in (torch.ops.aten._to_copy.default, torch.ops.aten.lift_fresh_copy.default):
        source = node.args[0].meta.get("val") if isinstance(node.args[0], torch.fx.Node) else None
        if tensors and isinstance(source, torch.Tensor) and source.device != tensors[0].device:
            return "a copy between devices"
        return None
    if str(node.target) in converted:
        return None
    return table.refuses(node.target, dynamic=dynamic)


def _line_of(node: Any) -> Site:
    found = _FRAME.findall(node.meta.get("stack_trace") or "")
    return Site(found[-1][0], int(found[-1][1])) if found else UNKNOWN
