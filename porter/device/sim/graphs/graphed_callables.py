"""Train through captured graphs: one graph for the forward, one for the backward.

``ModuleCacher`` and ``make_graphed_callables`` are built on this, with any graph class that has
``capture_begin``, ``capture_end`` and ``replay``.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten


def copy_to(dst: Any, src: Any) -> None:
    """Copy tensors into the tensors of an equal structure; other values stay."""
    if type(dst) is not type(src) and not isinstance(dst, torch.Tensor):
        raise TypeError(f"copy_to: {type(src).__name__} into {type(dst).__name__}")
    if isinstance(dst, dict):
        for key in dst:
            copy_to(dst[key], src[key])
    elif isinstance(dst, list | tuple):
        for into, value in zip(dst, src, strict=True):
            copy_to(into, value)
    elif isinstance(dst, torch.Tensor):
        dst.copy_(src, non_blocking=True)


def own_copy(obj: Any) -> Any:
    """Return a structure with copies of its tensors, for a graph to read."""
    if isinstance(obj, torch.Tensor):
        return obj.detach().clone().requires_grad_(obj.requires_grad)
    if isinstance(obj, list | tuple):
        values = [own_copy(value) for value in obj]
        return type(obj)(*values) if hasattr(obj, "_fields") else type(obj)(values)
    if isinstance(obj, dict):
        return {key: own_copy(value) for key, value in obj.items()}
    return obj


@contextlib.contextmanager
def captured(graph: Any) -> Iterator[None]:
    """Capture the block into ``graph``."""
    graph.capture_begin()
    try:
        yield
    finally:
        graph.capture_end()


class _Recorded(torch.autograd.Function):
    """A captured forward and backward, for use inside an ordinary training step."""

    @staticmethod
    def forward(ctx: Any, unit: TrainingUnit, *inputs: torch.Tensor) -> Any:
        ctx.unit = unit
        for static, new in zip(unit.inputs, inputs, strict=True):
            if static is not new:  # a parameter is its own buffer
                static.copy_(new, non_blocking=True)
        unit.forward_graph.replay()
        return tuple(output.detach() for output in unit.outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> Any:
        unit: TrainingUnit = ctx.unit
        for static, gradient in zip(unit.output_gradients, gradients, strict=True):
            if static is not None:
                if gradient is None:
                    static.zero_()
                else:
                    static.copy_(gradient)
        unit.backward_graph.replay()
        return (None, *(g if g is None else g.detach() for g in unit.gradients))


class TrainingUnit:
    """One callable's captured forward and backward for one shape of inputs.

    Arguments and results may be any nesting of tensors that ``torch.utils._pytree`` flattens;
    arguments that are not tensors are fixed at capture.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        parameters: Sequence[torch.Tensor],
        make_graph: Callable[[], Any],
        warm_up: int,
        allow_unused: bool,
    ) -> None:
        own_args, own_kwargs = own_copy((tuple(args), kwargs))
        self.inputs = [*_tensors((own_args, own_kwargs)), *parameters]
        wanted = [t for t in self.inputs if t.requires_grad]
        for _ in range(warm_up):
            made = [t for t in _tensors(call(*own_args, **own_kwargs)) if t.requires_grad]
            ones = [torch.zeros_like(t) for t in made]
            torch.autograd.grad(made, wanted, ones, allow_unused=allow_unused)
        self.forward_graph, self.backward_graph = make_graph(), make_graph()
        with captured(self.forward_graph):
            result = call(*own_args, **own_kwargs)
        self._leaves, self._shape = tree_flatten(result)
        self.outputs = _tensors(self._leaves)
        self.output_gradients = [
            torch.zeros_like(o) if o.requires_grad else None for o in self.outputs
        ]
        with captured(self.backward_graph):
            found = torch.autograd.grad(
                [o for o in self.outputs if o.requires_grad],
                wanted,
                [g for g in self.output_gradients if g is not None],
                allow_unused=allow_unused,
            )
        gradients = iter(found)
        self.gradients = [next(gradients) if t.requires_grad else None for t in self.inputs]

    def __call__(
        self, args: Sequence[Any], kwargs: dict[str, Any], parameters: Sequence[torch.Tensor]
    ) -> Any:
        """Return the result for these arguments, with gradients to them and to the parameters."""
        inputs = [*_tensors((tuple(args), kwargs)), *parameters]
        outputs = iter(_Recorded.apply(self, *inputs))  # type: ignore[no-untyped-call]
        leaves = [next(outputs) if isinstance(x, torch.Tensor) else x for x in self._leaves]
        return tree_unflatten(leaves, self._shape)


def _tensors(nested: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(nested) if isinstance(leaf, torch.Tensor)]


def graphed_callables(
    callables: Any,
    sample_args: Any,
    make_graph: Callable[[], Any],
    warm_up: int,
    allow_unused: bool,
) -> Any:
    """Return callables (or one) with forward and backward captured for the sample's shapes."""
    if isinstance(callables, tuple | list):
        return tuple(
            graphed_callables(call, args, make_graph, warm_up, allow_unused)
            for call, args in zip(callables, sample_args, strict=True)
        )
    call, sample = callables, tuple(sample_args)
    is_module = isinstance(call, torch.nn.Module)
    parameters = tuple(call.parameters()) if is_module else ()
    original = call.forward if is_module else call
    unit = TrainingUnit(original, sample, {}, parameters, make_graph, warm_up, allow_unused)
    mode = call.training if is_module else None

    @functools.wraps(original)
    def run(*args: Any) -> Any:
        if is_module and call.training != mode:
            return original(*args)
        return unit(args, {}, parameters)

    if not is_module:
        return run
    call.forward = run
    return call
