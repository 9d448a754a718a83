"""Count host syncs: reads of values on the host, and results whose shape depends on data.

Both stall a pipeline, and on a lazy device both end the graph that was accumulating. Each is
counted with the user's line. The host needs the size of a result with a data-dependent shape before
it can launch the next op: ``nonzero``, ``masked_select``, ``unique``, ``repeat_interleave``
without ``output_size``, and indexing by a boolean mask, which is a ``nonzero`` inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from porter.device.sim.core.counters import Counters
from porter.device.sim.core.dispatch import Watch
from porter.device.sim.core.op_schema import INDEXED_BY, OpFacts
from porter.device.sim.graphs.capture import DeviceGraph
from porter.device.sim.graphs.capture_limits import DYNAMIC_SHAPE, HOST_READ
from porter.interception.source_marks import ForwardMarks, site_of

EndGraph = Callable[[str], object]

_MASKS = (torch.bool, torch.uint8)


class HostSyncs:
    """Observer that counts host reads and data-dependent shapes; watches only the ops concerned.

    ``end_graph(why)`` ends the accumulated lazy graph: before a host read, which is not part of any
    graph, and after an op with a data-dependent shape, which is the last of its own.
    """

    def __init__(self, counters: Counters, forward: ForwardMarks, end_graph: EndGraph) -> None:
        self._counters = counters
        self._forward = forward
        self._end_graph = end_graph
        self._must_end = False

    def watch(self, op: OpFacts) -> Watch | None:
        """Return the callbacks for an op that makes the host wait."""
        if op.reads_host:
            return Watch(before=self._host_read(op))
        if op.packet in INDEXED_BY:
            return self._mask_index(op)
        if op.is_dynamic_shape:
            return self._dynamic(op)
        return None

    def _refuse(self, kind: str, what: str) -> None:
        graph = DeviceGraph.current
        if graph is not None:
            graph.refuse(kind, what)

    def _host_read(self, op: OpFacts) -> Callable[[Any, Any], None]:
        is_scalar = op.packet == "aten._local_scalar_dense"

        def before(args: Any, _kwargs: Any) -> None:
            self._refuse(HOST_READ, op.name)
            site = site_of(self._forward.here(2))
            self._end_graph(f"host read by {op.name}")
            self._counters.event("host_sync", op.name, site=site)
            if is_scalar:  # .item(), bool(), float() copy the value
                self._counters.event("d2h", op.name, site=site)
                self._counters.add("d2h_bytes", args[0].dtype.itemsize)

        return before

    def _end_graph_after(self, op: OpFacts) -> Callable[[Any, Any, Any], None]:
        def after(_args: Any, _kwargs: Any, _out: Any) -> None:
            if self._must_end:
                self._must_end = False
                self._end_graph(f"shape from data in {op.name}")

        return after

    def _count_dynamic(self, op: OpFacts, detail: str = "") -> None:
        self._refuse(DYNAMIC_SHAPE, op.name + (f" with {detail}" if detail else ""))
        self._must_end = True
        site = site_of(self._forward.here(3))
        self._counters.event("dynamic_shape", op.name, detail, site=site)
        self._counters.event("host_sync", op.name, "shape from data", site=site)

    def _dynamic(self, op: OpFacts) -> Watch:
        has_size = any(arg.name == "output_size" for arg in op.op._schema.arguments)

        def before(_args: Any, kwargs: Any) -> None:
            if not (has_size and kwargs and kwargs.get("output_size") is not None):
                self._count_dynamic(op)

        return Watch(before, self._end_graph_after(op))

    def _mask_index(self, op: OpFacts) -> Watch:
        def before(args: Any, _kwargs: Any) -> None:
            for index in args[1]:
                if index is not None and index.dtype in _MASKS:
                    self._count_dynamic(op, "boolean mask")
                    return

        return Watch(before, self._end_graph_after(op))
