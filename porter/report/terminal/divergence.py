"""What ``porter compare`` found, as text and as JSON: where two levels diverge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from porter.verify.judge.result import number_to_json

if TYPE_CHECKING:
    from porter.verify.divergence.runs import Comparison
    from porter.verify.divergence.search import Divergence, Found, OpDivergence
    from porter.verify.divergence.timeline import Activation, Op
    from porter.verify.divergence.tolerance import Difference

_MOST = 5


def as_json(comparison: Comparison, found: Found, lacking: str) -> dict[str, Any]:
    """Return everything that a search found as plain values."""
    divergence, alignment = found.activations.divergence, found.runs.alignment
    return {
        "port": comparison.planned.loaded.port,
        "recipe": comparison.planned.loaded.name,
        "first": _side(comparison, "first"),
        "second": _side(comparison, "second"),
        "exact": None if lacking or comparison.exact is None else _side(comparison, "exact"),
        "without_exact": lacking,
        "dtype": comparison.second.dtype,
        "seed": comparison.second.seed,
        "variant": comparison.second.values,
        "moments": found.activations.compared,
        "unseen": found.activations.unseen,
        "shapes": found.activations.shapes,
        "renamed": alignment.renamed,
        "only_first": list(alignment.only_first),
        "only_second": list(alignment.only_second),
        "uneven": [list(row) for row in alignment.uneven],
        "departs": divergence is not None,
        "module": divergence and _module(divergence),
        "op": found.op and _op_divergence(found.op, found),
    }


def _side(comparison: Comparison, side: str) -> dict[str, Any]:
    point = getattr(comparison, side)
    level = comparison.level(point)
    return {"level": level.number, "name": level.name, "tree": level.tree, "device": point.device}


def _module(divergence: Divergence) -> dict[str, Any]:
    activation, inside, jump = divergence.activation, divergence.inside, divergence.jump
    return {
        "path": activation.path,
        "class": activation.class_name,
        "call": activation.call,
        "what": {"in": "input", "out": "output", "record": "recorded output"}[activation.kind],
        "site": activation.site,
        "source": activation.source,
        "first_path": divergence.counterpart.path,
        "first_class": divergence.counterpart.class_name,
        "fault_in": inside and inside.path,
        "fault_in_class": inside and inside.class_name,
        "differences": [_difference(each) for each in divergence.differences],
        "jump": jump and {"path": jump[0].path, "times_allowed": number_to_json(jump[1])},
    }


def _difference(each: Difference) -> dict[str, Any]:
    return {
        **_fields(each, "name", "first", "second", "measure"),
        "error": number_to_json(each.error),
        "allowed": number_to_json(each.allowed),
        "first_error": number_to_json(each.own_error),
    }


def _op_divergence(found: OpDivergence, whole: Found) -> dict[str, Any]:
    return {
        **_op(found.op),
        "of": whole.ops,
        "from_the_beginning": whole.wide,
        "first": found.counterpart and _op(found.counterpart),
        "differences": [_difference(each) for each in found.differences],
        "operands": [
            {
                "name": each.name,
                "agrees": each.agrees,
                "told": each.text,
                "error": number_to_json(each.error),
                "allowed": number_to_json(each.allowed),
            }
            for each in found.operands
        ],
        "operands_agree": found.operands_agree,
        "only_first": [_op(op) for op in found.only_first],
        "only_second": [_op(op) for op in found.only_second],
    }


def _op(op: Op) -> dict[str, Any]:
    return _fields(op, "name", "number", "arguments", "site", "source", "path")


def _fields(one: object, *names: str) -> dict[str, Any]:
    return {name: getattr(one, name) for name in names}


def lines(comparison: Comparison, found: Found, lacking: str) -> Iterator[str]:
    """Yield the lines of a comparison."""
    first, second = (_named(comparison, side) for side in ("first", "second"))
    loaded = comparison.planned.loaded
    variant = "".join(f", {name} {value}" for name, value in comparison.second.values.items())
    on = f" on {comparison.second.device}" if _is_on_one_device(comparison) else ""
    yield (
        f"{loaded.port}/{loaded.name}: {second} against {first}{on}, {comparison.second.dtype}, "
        f"seed {comparison.second.seed}{variant}"
    )
    yield from _held_to(comparison, found, lacking)
    yield from _structure(found)
    divergence = found.activations.divergence
    name = comparison.level(comparison.first).name
    yield ""
    if divergence is None:
        yield from _nothing(found)
        return
    yield from _divergence_lines(divergence, name)
    yield ""
    if found.op is None:
        yield f"no single op diverges among the {found.ops} recorded there"
    else:
        yield from _op_lines(found.op, found, name)


def _named(comparison: Comparison, side: str) -> str:
    point = getattr(comparison, side)
    name = comparison.level(point).name
    return name if _is_on_one_device(comparison) else f"{name} on {point.device}"


def _is_on_one_device(comparison: Comparison) -> bool:
    return comparison.first.device == comparison.second.device


def _held_to(comparison: Comparison, found: Found, lacking: str) -> Iterator[str]:
    compared = f"{found.activations.compared:,} inputs and outputs of modules compared"
    if comparison.exact is not None and not lacking:
        name = comparison.level(comparison.exact).name
        yield f"{compared}, held to {name} in float64 on {comparison.exact.device}"
    else:
        yield f"{compared}, held to each other: no float64 run to tell rounding by"
    if lacking:
        yield f"  ({lacking})"
    warnings = dict.fromkeys((*found.runs.first.warnings, *found.runs.second.warnings))
    yield from (f"  {warning}" for warning in warnings)


def _structure(found: Found) -> Iterator[str]:
    alignment = found.runs.alignment
    for new, old in list(alignment.renamed.items())[:_MOST]:
        yield f"  {new} is taken for what was {old}"
    for label, paths in (
        ("only in the first", alignment.only_first),
        ("only in the second", alignment.only_second),
    ):
        if paths:
            more = f" and {len(paths) - _MOST} more" if len(paths) > _MOST else ""
            yield f"  {label}, not compared: {', '.join(paths[:_MOST])}{more}"
    for path, own, other in alignment.uneven[:_MOST]:
        yield f"  {path}: called {own} and {other} times; the first calls are compared"
    if found.activations.shapes:
        yield f"  {found.activations.shapes} tensors have other shapes and are not compared"


def _nothing(found: Found) -> Iterator[str]:
    yield "no divergence: rounding explains every difference in what was compared"
    if found.activations.unseen:
        yield (
            f"  {found.activations.unseen} tensors differ, but in none of the sampled elements; "
            "--sample 0 compares all"
        )


def _divergence_lines(divergence: Divergence, first: str) -> Iterator[str]:
    activation = divergence.activation
    what = {"in": "input of", "out": "output of", "record": "recorded output"}[activation.kind]
    yield f"first divergence: {what} {_call(activation)}"
    for each in divergence.differences[:_MOST]:
        yield f"  {_shown(each, first)}"
    if divergence.counterpart.class_name != activation.class_name:
        yield f"  {first} has {divergence.counterpart.class_name} there"
    word = "recorded" if activation.kind == "record" else "called"
    yield f"  {word} at {activation.site}: {activation.source}"
    if divergence.inside is None:
        yield "  everything before agrees: the fault is in code outside any module"
    else:
        inside = divergence.inside
        at = "" if inside.path == activation.path else f", called at {inside.site}"
        yield f"  everything before agrees: the fault is in the own code of {_call(inside)}{at}"
    if divergence.jump is not None:
        later, share = divergence.jump
        yield f"  the error grows to {_times(share)} what is allowed at {later.path}"


def _call(activation: Activation) -> str:
    if activation.kind == "record":
        return activation.path
    named = activation.path == activation.class_name
    shown = "" if named else f" ({activation.class_name})"
    return f"{activation.path}{shown}, call {activation.call}"


def _shown(each: Difference, first: str) -> str:
    types = each.second if each.first == each.second else f"{each.second}, {first}: {each.first}"
    if each.measure == "shape":
        return f"{each.name}: {types}"
    if each.measure == "elements":
        return f"{each.name}: {types}, {each.error:g} of the sampled elements differ"
    own = "" if each.own_error is None else f", {first}'s own {each.own_error:.2g}"
    return (
        f"{each.name}: {types}, error {each.error:.2g} ({each.measure}), "
        f"{_times(each.share)} the allowed {each.allowed:.2g}{own}"
    )


def _times(share: float) -> str:
    if not math.isfinite(share):
        return "beyond"
    return f"{share:,.0f} times" if share >= 10 else f"{share:.1f} times"


def _op_lines(found: OpDivergence, whole: Found, first: str) -> Iterator[str]:
    where = "from the beginning of the run" if whole.wide else "recorded there"
    if found.only_second:
        yield f"ops that {first} does not run, just before ({whole.ops} {where}):"
        yield from _ops(found.only_second)
        if found.only_first:
            yield f"where {first} runs:"
            yield from _ops(found.only_first)
        if not found.differences:
            return
    yield f"first op that diverges, number {found.op.number} of {whole.ops} {where}:"
    yield from _ops([found.op])
    for each in found.differences[:_MOST]:
        yield f"    result {_shown(each, first)}"
    if found.counterpart is not None and found.counterpart.arguments != found.op.arguments:
        yield f"    {first}: {found.counterpart.name}{found.counterpart.arguments}"
    for operand in () if found.only_second else found.operands:
        text = operand.text
        if not operand.agrees:
            text += f", error {operand.error:.2g}, allowed {operand.allowed:.2g}"
        yield f"    {operand.name} {text}"
    if not found.operands_agree:
        yield "    its inputs already differ, and were made before anything was recorded"


def _ops(ops: Sequence[Op]) -> Iterator[str]:
    for op in ops[:_MOST]:
        yield f"  {op.name}{op.arguments} at {op.site}"
        if op.source:
            yield f"      {op.source}"
