"""Register a vendor's fused kernel as one PyTorch operator.

On the card a fused kernel is one operator: one op in a graph, one dispatch, one backward. As plain
torch it would be ten, and every counter of the simulator would be wrong. So each is registered as
an operator of its own (``npu::npu_geglu``) whose kernel is the plain composition, and whose
backward is one more operator that differentiates that composition on the saved inputs. The latter
is named ``npu::npu_geglu_simulated_backward``: the vendor's own may have other arguments.
"""

from __future__ import annotations

import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import torch

C = TypeVar("C", bound=Callable[..., Any])


def fused(namespace: str, name: str | None = None) -> Callable[[C], C]:
    """Register a composition of torch ops as operator ``namespace::name``; returns the operator.

    The function must be fully annotated with the types of an operator schema, take its tensors as
    direct arguments and mutate none of them.
    """

    def register(function: C) -> C:
        title = name or function.__name__
        if not torch._C._jit_get_schemas_for_operator(f"{namespace}::{title}"):
            _define(namespace, title, function)
        registered: C = getattr(getattr(torch.ops, namespace), title)
        return registered

    return register


def kernel(schema: str, meta: Callable[..., Any] | None = None) -> Callable[[C], Any]:
    """Register a composition of torch ops as the kernel of one operator, without a gradient.

    ``schema`` is the vendor's own, ``"hpu::name.overload(Tensor input, ...) -> Tensor"``; it may
    write its arguments and take lists of tensors. ``meta`` returns results of the right shape and
    dtype for tensors without data, where the composition reads values. Returns the operator with
    all its overloads, of which each is registered by itself.
    """

    def register(function: C) -> Any:
        full = schema.partition("(")[0]
        name, _, overload = full.partition(".")
        namespace, _, title = name.partition("::")
        known = torch._C._jit_get_schemas_for_operator(name)
        if overload not in {each.overload_name for each in known}:
            library = _library(namespace)
            library.define(schema.removeprefix(f"{namespace}::"))
            mutates = "!" in schema

            def run(*args: Any, **kwargs: Any) -> Any:
                with torch._C._DisableAutocast():
                    result = function(*args, **kwargs)
                return result if mutates else _without_aliases(result, args)

            library.impl(full.partition("::")[2], run, "CompositeExplicitAutograd")
            if meta is not None:
                library.impl(full.partition("::")[2], meta, "Meta")
        return getattr(getattr(torch.ops, namespace), title)

    return register


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """Convert a tensor to the kernels' precision: float32, or float64 if it is float64."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def rms_norm(
    full: torch.Tensor, weight: torch.Tensor, epsilon: float, dimensions: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the RMS normalisation over the weight's or the last dimensions, and 1/RMS."""
    dims = list(range(-(dimensions or weight.dim()), 0))
    reciprocal = torch.rsqrt(full.square().mean(dims, keepdim=True) + epsilon)
    return full * reciprocal * weight, reciprocal


def quarter_turn(vector: torch.Tensor, *, pairwise: bool) -> torch.Tensor:
    """Return the vector turned by 90 degrees, for rotary embedding: (-second, first) of each pair.

    Pairs are neighbours, or the elements at one position of the vector's halves.
    """
    if pairwise:
        return torch.stack((-vector[..., 1::2], vector[..., ::2]), -1).flatten(-2)
    first, second = vector.chunk(2, -1)
    return torch.cat((-second, first), -1)


@functools.cache
def _library(namespace: str) -> Any:
    return torch.library.Library(namespace, "FRAGMENT")


def _define(namespace: str, title: str, function: Callable[..., Any]) -> None:
    library = _library(namespace)
    schema = torch.library.infer_schema(_with_typing_lists(function), mutates_args=())
    arguments = schema[1 : schema.index(") ->")]
    library.define(f"{title}{schema}")
    library.define(f"{title}_simulated_backward(Tensor?[] grads, {arguments}) -> Tensor[]")

    def forward(*args: Any, **kwargs: Any) -> Any:
        with torch._C._DisableAutocast():  # the kernel's precision is its own
            return _without_aliases(function(*args, **kwargs), args)

    def gradient(grads: list[torch.Tensor | None], *args: Any, **kwargs: Any) -> list[torch.Tensor]:
        with torch._C._DisableAutocast():
            return _differentiate(function, grads, args, kwargs)

    library.impl(title, forward, "CompositeExplicitAutograd")
    library.impl(f"{title}_simulated_backward", gradient, "CompositeExplicitAutograd")
    operator = getattr(getattr(torch.ops, namespace), f"{title}_simulated_backward")
    torch.library.register_autograd(
        f"{namespace}::{title}", _backward(operator), setup_context=_save_for_backward, lib=library
    )


def _with_typing_lists(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the same signature with ``typing.List`` for ``list`` in annotations.

    ``infer_schema`` of PyTorch before 2.7 knows the former alone.
    """
    hints = {name: _as_typing(hint) for name, hint in typing.get_type_hints(function).items()}
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=hints[n]) for n, p in signature.parameters.items()]

    def same_signature() -> None: ...

    vars(same_signature)["__signature__"] = signature.replace(
        parameters=parameters, return_annotation=hints["return"]
    )
    return same_signature


def _as_typing(hint: Any) -> Any:
    arguments = tuple(_as_typing(each) for each in typing.get_args(hint))
    kinds: dict[Any, Any] = {
        list: typing.List,  # noqa: UP006
        types.UnionType: typing.Union,
        typing.Union: typing.Union,
    }
    kind = kinds.get(typing.get_origin(hint))
    return hint if kind is None else kind[arguments]


def _without_aliases(result: Any, inputs: tuple[Any, ...]) -> Any:
    """Copy outputs that share memory with an input, which operators must not do."""
    storages = {t.untyped_storage()._cdata for t in inputs if isinstance(t, torch.Tensor)}

    def own(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.untyped_storage()._cdata in storages:
            return value.clone()
        return value

    if isinstance(result, tuple):
        return tuple(own(value) for value in result)
    return own(result)


def _save_for_backward(
    ctx: Any,
    inputs: tuple[Any, ...],
    output: Any,  # noqa: ARG001
    keyword_only_inputs: dict[str, Any] | None = None,
) -> None:
    ctx.set_materialize_grads(False)
    tensors = [value for value in inputs if isinstance(value, torch.Tensor)]
    ctx.save_for_backward(*tensors)
    ctx.rest = [None if isinstance(value, torch.Tensor) else (value,) for value in inputs]
    ctx.keywords = keyword_only_inputs or {}


def _backward(operator: Any) -> Callable[..., Any]:
    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        saved = iter(ctx.saved_tensors)
        inputs = [next(saved) if other is None else other[0] for other in ctx.rest]
        found = iter(operator(list(grads), *inputs, **ctx.keywords))
        result: list[torch.Tensor | None] = []
        for value, wanted in zip(inputs, ctx.needs_input_grad, strict=False):
            differentiable = isinstance(value, torch.Tensor) and value.is_floating_point()
            gradient = next(found) if differentiable else None
            result.append(gradient if wanted else None)
        result += [None] * (len(inputs) - len(result))
        return tuple(result)

    return backward


def _differentiate(
    function: Callable[..., Any],
    grads: list[torch.Tensor | None],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> list[torch.Tensor]:
    """Return the gradients for the floating-point tensor arguments, in their order."""
    # The kernel runs below autograd, but the composition must run above it to be differentiated.
    with (
        torch._C._ForceDispatchKeyGuard(
            torch._C._dispatch_tls_local_include_set(),
            torch._C._dispatch_tls_local_exclude_set() - _AUTOGRAD,
        ),
        torch.enable_grad(),
    ):
        inputs = [
            a.detach().requires_grad_(a.is_floating_point()) if isinstance(a, torch.Tensor) else a
            for a in args
        ]
        wanted = [a for a in inputs if isinstance(a, torch.Tensor) and a.requires_grad]
        outputs = function(*inputs, **kwargs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        pairs = [
            (out, grad)
            for out, grad in zip(outputs, grads, strict=False)
            if isinstance(out, torch.Tensor) and out.requires_grad and grad is not None
        ]
        if not pairs:
            return [torch.zeros_like(w) for w in wanted]
        found = torch.autograd.grad(
            [out for out, _ in pairs], wanted, [grad for _, grad in pairs], allow_unused=True
        )
    return [
        torch.zeros_like(w) if g is None else g.detach() for w, g in zip(wanted, found, strict=True)
    ]


_AUTOGRAD: Any = functools.reduce(
    operator.or_,
    (
        torch._C.DispatchKeySet(key)
        for name in ("CPU", "Other", "Functionality", "PrivateUse1", "HPU", "CUDA")
        if (key := getattr(torch._C.DispatchKey, f"Autograd{name}", None)) is not None
    ),
    torch._C.DispatchKeySet(torch._C.DispatchKey.ADInplaceOrView),
)
