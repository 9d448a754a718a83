"""``habana_frameworks.torch.hpu.graphs``: HPU Graphs, and wrappers that use them for a model.

Sources: Intel Gaudi documentation, "HPU Graphs for Inference" and "HPU Graphs for Training"
(docs.habana.ai), and the calls of published clients.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from porter.device.sim.graphs.graphed_callables import (
    TrainingUnit,
    copy_to,
    graphed_callables,
    own_copy,
)
from porter.device.sim.vendors.graphs import (
    CapturedGraph,
    GraphCapture,
    is_current_stream_capturing,
)


class HPUGraph(CapturedGraph):
    """A captured sequence of device work. Replays run on the captured tensors."""

    kind = "hpu"
    _user_inputs: Sequence[torch.Tensor] = ()

    def capture_begin(self, dry_run: bool = False) -> None:
        """Start recording the ops of this thread."""
        self._graph.capture_begin(dry_run=dry_run)

    def replay(self, asynchronous: bool = False) -> None:
        """Run what was recorded, on the tensors it was recorded with."""
        super().replay()

    def replayV2(
        self,
        static_tlist: Sequence[torch.Tensor],
        tlist: Sequence[torch.Tensor],
        asynchronous: bool = False,
    ) -> None:
        """Copy new inputs into the captured ones, ``static_tlist``, and replay."""
        for captured, new in zip(static_tlist, tlist, strict=True):
            captured.copy_(new)
        self.replay(asynchronous)

    def replayV3(self, tlistI: Sequence[torch.Tensor], asynchronous: bool = False) -> None:
        """Copy new inputs into those that :meth:`mark_user_inputs` named, and replay."""
        self.replayV2(self._user_inputs, tlistI, asynchronous)

    def clear_inputs(self) -> None:
        """Free inputs that are outputs, too. Nothing is freed here before the graph."""

    def mark_step(self) -> None:
        """Split the captured graph on the card. Here one graph is recorded."""

    def mark_user_outputs(self, static_tlist: Sequence[torch.Tensor]) -> None:
        """Name the tensors that are read after a replay. All are kept here."""

    def mark_user_inputs(self, static_tlist: Sequence[torch.Tensor]) -> None:
        """Name the tensors that are written before a replay."""
        self._user_inputs = list(static_tlist)

    def destroy(self) -> None:
        """Free the graph and its tensors."""
        self.reset()


class graph(GraphCapture):
    """``with graph(g):`` captures the block into ``g``."""

    kind = "hpu"

    def __init__(
        self,
        hpu_graph: HPUGraph,
        stream: Any = None,
        dry_run: bool = False,
        disable_tensor_cache: bool = False,
    ) -> None:
        super().__init__(hpu_graph, dry_run=dry_run)
        self.hpu_graph = hpu_graph


def input_hash(obj: Any) -> int:
    """Return a key for the graph of these inputs.

    Tensors count by shape, dtype and layout, other values by value, because a captured graph has
    them fixed.
    """
    if isinstance(obj, dict):
        return hash(tuple((k, input_hash(v)) for k, v in obj.items()))
    if isinstance(obj, list | tuple):
        return hash((type(obj).__name__, tuple(input_hash(v) for v in obj)))
    if isinstance(obj, torch.Tensor):
        return hash(("tensor", tuple(obj.shape), str(obj.dtype), tuple(obj.stride())))
    try:
        return hash((type(obj).__name__, obj))
    except TypeError:
        return id(obj)


@dataclass(eq=False)
class CachedParams:
    """A captured graph with the tensors it reads and writes."""

    graph_inputs: Any
    graph_outputs: Any
    graph: HPUGraph
    out_tinfo_list: Any = None
    asynchronous: bool = False


@dataclass(eq=False)
class _Cache:
    """The graphs of one callable, by the hash of their inputs."""

    call: Callable[..., Any]
    asynchronous: bool
    max_graphs: int | None
    graphs: dict[int, CachedParams] = field(default_factory=dict)

    def wrapper(self) -> Callable[..., Any]:
        """Return what to call instead of the callable."""

        @functools.wraps(self.call)
        def replay_or_capture(*args: Any, **kwargs: Any) -> Any:
            return self(*args, **kwargs)

        return replay_or_capture

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if is_current_stream_capturing() or kwargs.pop("bypass_hpu_graphs", False):
            return self.call(*args, **kwargs)
        inputs = (args, kwargs)
        key = input_hash(inputs)
        cached = self.graphs.get(key)
        if cached is not None:
            copy_to(cached.graph_inputs, inputs)
            cached.graph.replay(self.asynchronous)
            torch.hpu.default_stream()  # type: ignore[attr-defined]
            return cached.graph_outputs
        if self.max_graphs is not None and len(self.graphs) >= self.max_graphs:
            return self.call(*args, **kwargs)
        return self._capture(key, inputs)

    def _capture(self, key: int, inputs: Any) -> Any:
        own_args, own_kwargs = own_copy(inputs)
        captured = HPUGraph()
        with graph(captured):
            outputs = self.call(*own_args, **own_kwargs)
        captured.replay(self.asynchronous)
        self.graphs[key] = CachedParams((own_args, own_kwargs), outputs, captured)
        return outputs

    def clear(self) -> None:
        """Free every graph."""
        for cached in self.graphs.values():
            cached.graph.destroy()
        self.graphs.clear()


def wrap_in_hpu_graph(
    module: torch.nn.Module,
    asynchronous: bool = False,
    disable_tensor_cache: bool = False,
    dry_run: bool = False,
    max_graphs: int | None = None,
) -> torch.nn.Module:
    """Make a module's forward (inference) capture a graph per input shape and replay it."""
    cache = _Cache(module.forward, asynchronous, max_graphs)
    module.forward = cache.wrapper()
    module.clear_cache = cache.clear  # type: ignore[assignment]
    return module


def wrap_in_hpu_graph_func(
    func: Callable[..., Any],
    asynchronous: bool = False,
    disable_tensor_cache: bool = False,
    dry_run: bool = False,
    max_graphs: int | None = None,
) -> Callable[..., Any]:
    """Do what :func:`wrap_in_hpu_graph` does, for a function."""
    return _Cache(func, asynchronous, max_graphs).wrapper()


def make_graphed_callables(
    callables: Any,
    sample_args: Any,
    warmups: int = 0,
    allow_unused_input: bool = False,
    asynchronous: bool = False,
    disable_tensor_cache: bool = False,
    dry_run: bool = False,
) -> Any:
    """Return callables (or one) with forward and backward captured for the sample's shapes."""
    return graphed_callables(callables, sample_args, HPUGraph, warmups, allow_unused_input)


class ModuleCacher:
    """Captures a module's training steps, one graph pair per input shape."""

    def __init__(self, max_graphs: int = 10) -> None:
        self.max_graphs = max_graphs

    def __call__(
        self,
        model: torch.nn.Module,
        use_lfu: bool = False,
        inplace: bool = True,
        allow_unused_input: bool = False,
        asynchronous: bool = False,
        have_grad_accumulation: bool = False,
        log_frequency: int = 100,
        verbose: bool = False,
        disable_tensor_cache: bool = False,
        dry_run: bool = False,
    ) -> torch.nn.Module:
        """Return the model, or a copy unless ``inplace``, with its forward replaced."""
        result = model if inplace else copy.copy(model)
        original = model.forward
        units: dict[int, TrainingUnit] = {}

        @functools.wraps(original)
        def forward(*args: Any, **kwargs: Any) -> Any:
            if not model.training or is_current_stream_capturing():
                return original(*args, **kwargs)
            key = input_hash((args, kwargs))
            unit = units.get(key)
            parameters = tuple(model.parameters())
            if unit is None:
                if len(units) >= self.max_graphs:
                    return original(*args, **kwargs)
                unit = TrainingUnit(
                    original,
                    args,
                    kwargs,
                    parameters,
                    HPUGraph,
                    0,
                    allow_unused_input,
                )
                units[key] = unit
            return unit(args, kwargs, parameters)

        result.forward = forward
        return result


__all__ = [
    "CachedParams", "HPUGraph", "ModuleCacher", "copy_to", "graph", "input_hash",
    "is_current_stream_capturing", "make_graphed_callables", "wrap_in_hpu_graph",
    "wrap_in_hpu_graph_func",
]  # fmt: skip
