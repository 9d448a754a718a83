"""What an op's schema says about it, computed once and stored on the op.

Op overloads are long-lived Python objects with a ``__dict__``; an attribute on them is the cheapest
look-up (a dict keyed by ops would call ``OpOverload.__hash__``, which is Python code).
"""

from __future__ import annotations

from dataclasses import dataclass

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


INDEXED_BY = {"aten.index": 1, "aten.index_put": 1, "aten.index_put_": 1,
              "aten._index_put_impl_": 1, "aten._unsafe_index": 1}  # fmt: skip
"""Ops whose result's shape depends on data only when an index is a mask, with the position of
the list of indices among the arguments."""


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
        found.append(
            TensorArg(
                None if arg.kwarg_only else position,
                arg.name,
                "List[" in text,
                "Optional[" in text,
                written,
            )
        )
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
