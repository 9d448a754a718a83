"""``torch.npu.NPUGraph`` and what uses it."""

from __future__ import annotations

from typing import Any

from porter.device.sim.vendors.graphs import (
    GraphCapture,
    PooledGraph,
    graph_pool_handle,
    graphed_callables_of,
    is_current_stream_capturing,
)


class NPUGraph(PooledGraph):
    """A captured sequence of device work. Nothing runs while it is captured."""

    kind = "npu"


class graph(GraphCapture):
    """``with torch.npu.graph(g):`` captures the block into ``g``."""

    kind = "npu"

    def __init__(
        self,
        npu_graph: NPUGraph,
        pool: Any = None,
        stream: Any = None,
        auto_dispatch_capture: bool = False,
        capture_error_mode: str = "global",
    ) -> None:
        del stream, auto_dispatch_capture
        super().__init__(npu_graph, pool=pool, capture_error_mode=capture_error_mode)
        self.npu_graph = npu_graph


make_graphed_callables = graphed_callables_of(NPUGraph)

__all__ = [
    "NPUGraph", "graph", "graph_pool_handle", "is_current_stream_capturing",
    "make_graphed_callables",
]  # fmt: skip
