"""``torch.cuda.CUDAGraph``, ``torch.cuda.graph`` and their helpers on a simulated CUDA device.

Signatures are those of PyTorch 2.13 (``torch/cuda/graphs.py``); the capture itself is
:class:`~porter.device.sim.graphs.capture.DeviceGraph`.
"""

from __future__ import annotations

import gc
from types import TracebackType
from typing import Any

import torch

from porter.device.sim.accounting.ledger import accounting_of
from porter.device.sim.core.machine import Machine
from porter.device.sim.graphs.capture import DeviceGraph
from porter.device.sim.graphs.graphed_callables import graphed_callables
from porter.device.sim.rng.generator import device_generator
from porter.interception.patching import Patches

_MODES = ("global", "thread_local", "relaxed")
_pools = iter(range(1, 1 << 62))


def graph_pool_handle() -> tuple[int, int]:
    """A handle of a new memory pool."""
    return (0, next(_pools))


class CUDAGraph:
    """A captured sequence of device work. Nothing runs while it is captured."""

    machine: Machine

    def __init__(self, keep_graph: bool = False) -> None:
        books = accounting_of("cuda")
        self._graph = books.new_graph() if books is not None else DeviceGraph(self.machine)
        self._pool: tuple[int, int] = (0, 0)
        self._keep_graph = keep_graph

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        """Start recording."""
        if capture_error_mode not in _MODES:
            raise RuntimeError(
                "Unknown capture error mode. Expected `global`, `thread_local`, or `relaxed`, got "
                f"{capture_error_mode}"
            )
        self._pool = pool or graph_pool_handle()
        self._graph.capture_begin()

    def capture_end(self) -> None:
        """Stop recording."""
        self._graph.capture_end()

    def instantiate(self) -> None:
        """Make the graph ready to replay: it is, once captured."""

    def replay(self) -> None:
        """Run what was recorded, on the tensors it was recorded with."""
        self._graph.replay()

    def reset(self) -> None:
        """Free the graph."""
        self._graph.reset()

    def pool(self) -> tuple[int, int]:
        """The memory pool's handle."""
        return self._pool

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


class graph:
    """``with torch.cuda.graph(g):`` captures the block into ``g``."""

    def __init__(
        self,
        cuda_graph: CUDAGraph,
        pool: Any = None,
        stream: Any = None,
        capture_error_mode: str = "global",
        **_: Any,
    ) -> None:
        self.cuda_graph = cuda_graph
        self.pool = pool
        self.capture_error_mode = capture_error_mode
        self._stream = torch.cuda.stream(stream or torch.cuda.Stream())

    def __enter__(self) -> None:
        torch.cuda.synchronize()
        gc.collect()
        self._stream.__enter__()
        self.cuda_graph.capture_begin(self.pool, self.capture_error_mode)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.cuda_graph.capture_end()
        finally:
            self._stream.__exit__(kind, error, trace)


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
    made = torch.cuda.CUDAGraph
    return graphed_callables(callables, sample_args, made, num_warmup_iters, allow_unused_input)


def install_cuda_graphs(machine: Machine, patches: Patches) -> None:
    """Put the simulated graphs where scripts look for them."""
    bound = type("CUDAGraph", (CUDAGraph,), {"machine": machine})
    served = {
        "CUDAGraph": bound,
        "graph": graph,
        "graph_pool_handle": graph_pool_handle,
        "is_current_stream_capturing": is_current_stream_capturing,
        "make_graphed_callables": make_graphed_callables,
    }
    for name, value in served.items():
        patches.replace(torch.cuda, name, value)
        patches.replace(torch.cuda.graphs, name, value)
