"""``torch.npu.NPUGraph`` and what uses it."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch

from porter.device.sim.accounting.ledger import DeviceAccounting, accounting_of
from porter.device.sim.graphs.capture import DeviceGraph
from porter.device.sim.graphs.graphed_callables import graphed_callables

_pools = iter(range(1, 1 << 62))


def _books() -> DeviceAccounting:
    books = accounting_of("npu")
    if books is None:
        raise RuntimeError("NPU graphs: sim:npu is not active in this process")
    return books


class NPUGraph:
    """A captured sequence of device work. Nothing runs while it is captured."""

    def __init__(self) -> None:
        self._graph: DeviceGraph = _books().new_graph()
        self._pool: tuple[int, int] = (0, 0)

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        """Start recording."""
        if capture_error_mode not in ("global", "thread_local", "relaxed"):
            raise RuntimeError(
                "Unknown capture error mode. Expected `global`, `thread_local`, or `relaxed`, got "
                f"{capture_error_mode}"
            )
        self._pool = pool or graph_pool_handle()
        self._graph.capture_begin()

    def capture_end(self) -> None:
        """Stop recording."""
        self._graph.capture_end()

    def replay(self) -> None:
        """Run what was recorded, on the tensors it was recorded with."""
        self._graph.replay()

    def reset(self) -> None:
        """Free the graph."""
        self._graph.reset()

    def pool(self) -> tuple[int, int]:
        """The memory pool's handle."""
        return self._pool


def graph_pool_handle() -> tuple[int, int]:
    """A handle of a new memory pool."""
    return (0, next(_pools))


class graph:
    """``with torch.npu.graph(g):`` captures the block into ``g``."""

    def __init__(
        self,
        npu_graph: NPUGraph,
        pool: Any = None,
        stream: Any = None,
        auto_dispatch_capture: bool = False,
        capture_error_mode: str = "global",
    ) -> None:
        del stream, auto_dispatch_capture
        self.npu_graph = npu_graph
        self._pool = pool
        self._mode = capture_error_mode

    def __enter__(self) -> None:
        torch.npu.synchronize()  # type: ignore[attr-defined]
        self.npu_graph.capture_begin(self._pool, self._mode)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.npu_graph.capture_end()


def is_current_stream_capturing() -> bool:
    """Whether a capture is in progress."""
    return DeviceGraph.current is not None


def make_graphed_callables(
    callables: Any,
    sample_args: Any,
    num_warmup_iters: int = 3,
    allow_unused_input: bool = False,
    pool: Any = None,
) -> Any:
    """Callables (or one) whose forward and backward are captured for the sample's shapes."""
    del pool
    return graphed_callables(callables, sample_args, NPUGraph, num_warmup_iters, allow_unused_input)


__all__ = [
    "NPUGraph", "graph", "graph_pool_handle", "is_current_stream_capturing",
    "make_graphed_callables",
]  # fmt: skip
