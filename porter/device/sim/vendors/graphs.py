"""What the graph classes of CUDA, HPU and NPU scripts have in common.

The capture itself is :class:`~porter.device.sim.graphs.capture.DeviceGraph`. The vendors' adapters
(``cuda_graphs``, ``habana.graphs``, ``ascend.npu``) add each vendor's names and signatures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch

from porter.device.sim.accounting.ledger import accounting_of
from porter.device.sim.graphs.capture import DeviceGraph
from porter.device.sim.graphs.graphed_callables import graphed_callables

_MODES = ("global", "thread_local", "relaxed")
_pools = iter(range(1, 1 << 62))


def graph_pool_handle() -> tuple[int, int]:
    """A handle of a new memory pool."""
    return (0, next(_pools))


def is_current_stream_capturing() -> bool:
    """Whether a capture is in progress."""
    return DeviceGraph.current is not None


class CapturedGraph:
    """A captured sequence of device work on the device type ``kind``."""

    kind: ClassVar[str]

    def __init__(self) -> None:
        accounting = accounting_of(self.kind)
        if accounting is None:
            raise RuntimeError(
                f"{self.kind.upper()} graphs: sim:{self.kind} is not active in this process"
            )
        self._graph = accounting.new_graph()

    def capture_end(self) -> None:
        """Stop recording."""
        self._graph.capture_end()

    def replay(self) -> None:
        """Run what was recorded, on the tensors it was recorded with."""
        self._graph.replay()

    def reset(self) -> None:
        """Free the graph and its tensors."""
        self._graph.reset()


class PooledGraph(CapturedGraph):
    """A graph whose capture names a memory pool (CUDA, NPU). Nothing runs while it is captured."""

    def __init__(self) -> None:
        super().__init__()
        self._pool: tuple[int, int] = (0, 0)

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        """Start recording."""
        if capture_error_mode not in _MODES:
            raise RuntimeError(
                "Unknown capture error mode. Expected `global`, `thread_local`, or `relaxed`, got "
                f"{capture_error_mode}"
            )
        self._pool = pool or graph_pool_handle()
        self._graph.capture_begin()

    def pool(self) -> tuple[int, int]:
        """The memory pool's handle."""
        return self._pool


class GraphCapture:
    """``with graph(g):`` captures the block into ``g``; ``options`` are for ``capture_begin``."""

    kind: ClassVar[str]

    def __init__(self, graph: Any, **options: Any) -> None:
        self._graph = graph
        self._options = options

    def __enter__(self) -> None:
        getattr(torch, self.kind).synchronize()
        self._graph.capture_begin(**self._options)

    def __exit__(self, *error: Any) -> None:
        self._graph.capture_end()


def graphed_callables_of(graph_type: type[PooledGraph]) -> Callable[..., Any]:
    """Return the ``make_graphed_callables`` that captures into graphs of this class."""

    def make_graphed_callables(
        callables: Any,
        sample_args: Any,
        num_warmup_iters: int = 3,
        allow_unused_input: bool = False,
        pool: Any = None,
    ) -> Any:
        """Return callables (or one) with forward and backward captured for the sample's shapes."""
        return graphed_callables(
            callables, sample_args, graph_type, num_warmup_iters, allow_unused_input
        )

    return make_graphed_callables
