"""``torch.cuda.CUDAGraph``, ``torch.cuda.graph`` and their helpers on a simulated CUDA device.

Signatures are those of PyTorch 2.13 (``torch/cuda/graphs.py``).
"""

from __future__ import annotations

import gc
from typing import Any

import torch

from porter.device.sim.rng.generator import device_generator
from porter.device.sim.vendors.graphs import (
    GraphCapture,
    PooledGraph,
    graph_pool_handle,
    graphed_callables_of,
    is_current_stream_capturing,
)
from porter.interception.patching import Patches


class CUDAGraph(PooledGraph):
    """A captured sequence of device work. Nothing runs while it is captured."""

    kind = "cuda"

    def __init__(self, keep_graph: bool = False) -> None:
        super().__init__()
        self._keep_graph = keep_graph

    def instantiate(self) -> None:
        """Make the graph ready to replay: it is, once captured."""

    def register_generator_state(self, generator: Any) -> None:
        """Let the capture draw from this generator, too."""
        found = device_generator(generator)
        if found is not None:
            self._graph.register_generator(found)

    def enable_debug_mode(self) -> None:
        """Keep what a dump needs. There is nothing to dump."""

    def debug_dump(self, debug_path: str) -> None:
        """Refused: a simulated graph has no CUDA nodes."""
        raise RuntimeError(f"sim:cuda: no CUDA graph to dump to {debug_path}: it is simulated")


class graph(GraphCapture):
    """``with torch.cuda.graph(g):`` captures the block into ``g``."""

    kind = "cuda"

    def __init__(
        self,
        cuda_graph: CUDAGraph,
        pool: Any = None,
        stream: Any = None,
        capture_error_mode: str = "global",
        **_: Any,
    ) -> None:
        super().__init__(cuda_graph, pool=pool, capture_error_mode=capture_error_mode)
        self.cuda_graph = cuda_graph
        self.pool = pool
        self.capture_error_mode = capture_error_mode
        self._stream = torch.cuda.stream(stream or torch.cuda.Stream())

    def __enter__(self) -> None:
        gc.collect()
        super().__enter__()
        self._stream.__enter__()

    def __exit__(self, *error: Any) -> None:
        try:
            super().__exit__(*error)
        finally:
            self._stream.__exit__(*error)


def install_cuda_graphs(patches: Patches) -> None:
    """Put the simulated graphs where scripts look for them."""
    served = {
        "CUDAGraph": CUDAGraph,
        "graph": graph,
        "graph_pool_handle": graph_pool_handle,
        "is_current_stream_capturing": is_current_stream_capturing,
        "make_graphed_callables": graphed_callables_of(CUDAGraph),
    }
    for name, value in served.items():
        patches.replace(torch.cuda, name, value)
        patches.replace(torch.cuda.graphs, name, value)
