"""What an op's schema says about it, computed once and stored on the op; and its direct binding.

Op overloads are long-lived Python objects with a ``__dict__``; an attribute on them is the cheapest
look-up (a dict keyed by ops would call ``OpOverload.__hash__``, which is Python code).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import OpOverload


@dataclass(frozen=True, slots=True)
class TensorArg:
    """A tensor-typed argument: its position (None if keyword-only), its name and its type."""

    position: int | None
    name: str
    is_list: bool
    is_optional: bool
    is_written: bool


INDEXED = frozenset(
    f"aten.{name}"
    for name in ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
)
"""Ops whose result's shape depends on data only when one of the indices, their second argument, is
a mask."""


@dataclass(frozen=True, slots=True, eq=False)
class OpFacts:
    """An op overload and what its schema and tags say."""

    op: OpOverload
    name: str
    """``aten.add.Tensor``"""
    packet: str
    """``aten.add``"""
    tensor_args: tuple[TensorArg, ...]
    has_keywords: bool
    """It has keyword-only arguments, so a call may carry ``kwargs``."""
    returns_tensors: tuple[str, ...]
    """Per return value: "fresh", "view", "written" (that very argument), "list" or "value"."""
    mutates: bool
    is_view: bool
    is_random: bool
    is_dynamic_shape: bool
    reads_host: bool
    """The host reads data to produce its result, so it waits for the device."""
    is_composite: bool
    """Only a CompositeImplicitAutograd kernel exists: it must be decomposed, not run."""


def _return_kind(ret: torch._C.Argument) -> str:
    text = str(ret.type)
    if text == "Tensor":
        if ret.alias_info is None:
            return "fresh"
        return "written" if ret.alias_info.is_write else "view"
    return "list" if "Tensor" in text else "value"


def _tensor_args(schema: torch._C.FunctionSchema) -> tuple[TensorArg, ...]:
    found = []
    for position, arg in enumerate(schema.arguments):
        text = str(arg.type)
        if "Tensor" not in text:
            continue
        written = arg.alias_info is not None and arg.alias_info.is_write
        place = None if arg.kwarg_only else position
        found.append(TensorArg(place, arg.name, "List[" in text, "Optional[" in text, written))
    return tuple(found)


def _compute_facts(op: OpOverload) -> OpFacts:
    schema = op._schema
    packet = str(op._overloadpacket)
    full_name: str = op._name
    key = torch._C.DispatchKey
    composite = torch._C._dispatch_has_kernel_for_dispatch_key(
        full_name, key.CompositeImplicitAutograd
    ) and not torch._C._dispatch_has_kernel_for_dispatch_key(full_name, key.CPU)
    tags = op.tags
    return OpFacts(
        op=op,
        name=str(op),
        packet=packet,
        tensor_args=_tensor_args(schema),
        has_keywords=any(arg.kwarg_only for arg in schema.arguments),
        returns_tensors=tuple(_return_kind(ret) for ret in schema.returns),
        mutates=schema.is_mutable,
        is_view=op.is_view,
        is_random=torch.Tag.nondeterministic_seeded in tags,
        is_dynamic_shape=torch.Tag.dynamic_output_shape in tags,
        reads_host=torch.Tag.data_dependent_output in tags,
        is_composite=composite,
    )


def facts_of(op: OpOverload) -> OpFacts:
    """Return the facts of an op overload, computed the first time."""
    try:
        facts: OpFacts = op._porter_facts  # type: ignore[attr-defined]
    except AttributeError:
        facts = _compute_facts(op)
        op._porter_facts = facts  # type: ignore[attr-defined]
    return facts


_FUNCTIONS = """
    add.Tensor sub.Tensor mul.Tensor div.Tensor mm.default bmm.default addmm.default baddbmm.default
    exp.default log.default sin.default cos.default sqrt.default rsqrt.default neg.default
    tanh.default sigmoid.default relu.default abs.default reciprocal.default addcmul.default
    addcdiv.default convolution.default native_group_norm.default native_layer_norm.default
    _softmax.default cat.default t.default transpose.int permute.default unsqueeze.default
    squeeze.dim select.int native_batch_norm.default pow.Tensor_Scalar where.self
    sqrt_.default lerp.Scalar maximum.default minimum.default
"""

_METHODS = """
    add_.Tensor sub_.Tensor mul_.Tensor div_.Tensor view.default expand.default detach.default
    addcmul_.default addcdiv_.default lerp_.Scalar zero_.default copy_.default
"""

_ACTIVATIONS = "silu.default gelu.default leaky_relu.default softplus.default"

"""Ops that models call most, whose Python binding takes its arguments in the schema's order."""

_OWNERS: dict[str, Any] = {
    short: owner
    for owner, names in (
        (torch._C._VariableFunctions, _FUNCTIONS),
        (torch._C.TensorBase, _METHODS),
        (torch._C._nn, _ACTIVATIONS),
    )
    for short in names.split()
}


def direct_binding(facts: OpFacts) -> Callable[..., Any] | None:
    """Return the generated binding of a hot op, or None.

    ``torch.add(x, y)`` parses its arguments with a generated parser; ``torch.ops.aten.add.Tensor(x,
    y)`` boxes them and matches the schema, which costs about one microsecond more.
    """
    short = facts.name.removeprefix("aten.")
    return getattr(_OWNERS.get(short), short.split(".", 1)[0], None)
