"""Generate the functions that run ops on a simulated device, called by ``__torch_dispatch__``.

For each op overload and device a small function is generated the first time the op runs, holding
only the steps this op needs under the present configuration: the check that all operands are on the
device (only when there are two or more), the observers that watch this op, the call, the wrapping
of fresh results. It is stored on the op object under an attribute of the device's class, so the hot
path is one attribute look-up and one call.

Everything that counts, records or refuses ops is an observer::

    class Recorder:
        def watch(self, op: OpFacts) -> Watch | None: ...

``watch`` is called once per op and configuration; it returns what to call before and after each run
of that op (with ``args`` and ``kwargs`` exactly as ``__torch_dispatch__`` got them), or None to
cost nothing. Adding or removing an observer discards the generated functions
(:meth:`Machine.observe`). A ``before`` that raises refuses the op. Neither should keep tensors
without need: holding them changes the program's memory use. Ops on device tensors inside a callback
dispatch again; wrap work that must not be observed in :func:`unseen`.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves, tree_map

from porter.device.sim.core.op_schema import OpFacts, direct_binding, facts_of

Args = tuple[Any, ...]
Kwargs = dict[str, Any]
Run = Callable[[Args, Kwargs], Any]
Settle = Callable[[OpFacts, Args, Kwargs], tuple[Args, Kwargs]]

set_excluded = torch._C._dispatch_tls_set_dispatch_key_excluded
is_excluded = torch._C._dispatch_tls_is_dispatch_key_excluded
PYTHON_KEY = torch._C.DispatchKey.Python
as_subclass = torch.Tensor.as_subclass
make_subclass = torch.Tensor._make_subclass
"""Slower than ``as_subclass``, but takes compressed sparse tensors, which cannot be aliased."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Callbacks of one observer for one op. ``after`` also gets what the op returned.

    ``count``, a list of one number, is increased at every run: the cheapest thing to watch.
    """

    before: Callable[[Args, Kwargs], None] | None = None
    after: Callable[[Args, Kwargs, Any], None] | None = None
    count: list[int] | None = None


class Observer(Protocol):
    """Something that watches ops run."""

    def watch(self, op: OpFacts) -> Watch | None:
        """Return the callbacks for an op, or None to ignore it."""


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """Run ops on device tensors natively and unobserved; fresh results are CPU tensors."""
    was = is_excluded(PYTHON_KEY)
    set_excluded(PYTHON_KEY, True)
    try:
        yield
    finally:
        set_excluded(PYTHON_KEY, was)


def _operand_check(facts: OpFacts) -> list[str]:
    """Return source lines that pass calls with a foreign operand to ``settle``.

    An op with a single tensor argument was dispatched by that argument: nothing to check.
    """
    positional = [arg for arg in facts.tensor_args if arg.position is not None]
    keyword = [arg for arg in facts.tensor_args if arg.position is None]
    if len(facts.tensor_args) < 2 and not any(arg.is_list for arg in facts.tensor_args):
        return []
    tests = []
    required = [a for a in positional if not a.is_list and not a.is_optional]
    tests += [f"type(args[{a.position}]) is not D" for a in required]
    for a in positional:
        if a.is_list:
            items = f"((args[{a.position}] if n > {a.position} else ()) or ())"
            tests.append(f"any(type(_t) is not D and _t is not None for _t in {items})")
        elif a.is_optional:
            position = a.position
            present = f"n > {position} and args[{position}] is not None"
            tests.append(f"({present} and type(args[{position}]) is not D)")
    lines = []
    if any(a.is_list or a.is_optional for a in positional):
        lines.append("n = len(args)")
    condition = " or ".join(tests) or "False"
    if keyword:
        condition += " or kwargs"
    return [*lines, f"if {condition}:", "    args, kwargs = settle(args, kwargs)"]


def _wrap_lines(facts: OpFacts) -> list[str]:
    kinds = facts.returns_tensors
    if len(kinds) == 1 and kinds[0] in ("fresh", "view"):
        return [
            "if type(out) is T:",
            "    try: out = wrap(out, D)",
            "    except RuntimeError: out = wrap_sparse(D, out)",
        ]
    if all(kind in ("written", "value") for kind in kinds):
        return []
    if kinds == ("list",):
        return ["out = [wrap(o, D) if type(o) is T else o for o in out]"]  # views: strided
    return ["out = wrap_each(out)"]


def _wrap_each(cls: type[torch.Tensor], kinds: tuple[str, ...]) -> Callable[[Any], Any]:
    """Return the wrapping for ops with several results."""

    def one(value: Any, kind: str) -> Any:
        if kind == "list":
            return [as_subclass(v, cls) if type(v) is torch.Tensor else v for v in value]
        if kind != "written" and type(value) is torch.Tensor:
            strided = value.layout == torch.strided
            return as_subclass(value, cls) if strided else make_subclass(cls, value)
        return value

    def each(out: Any) -> Any:
        return tuple(one(value, kind) for value, kind in zip(out, kinds, strict=True))

    return each


_NARROW = (torch.float16, torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn)
_NO_KERNEL = re.compile(
    r"not implemented for '(Half|BFloat16|Float8_\w+)'|Unsupported datatype for"
)


def _in_float32(facts: OpFacts, args: Args, kwargs: Kwargs, error: Exception) -> Any:
    """Compute an op in float32 and round its results, where the CPU has no kernel for the dtype.

    What the card supports is another question, which op tables answer. Raises ``error`` for any
    other one, and for an op that writes its arguments.
    """
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    narrow = next((leaf.dtype for leaf in leaves if leaf.dtype in _NARROW), None)
    if narrow is None or facts.mutates or not _NO_KERNEL.search(str(error)):
        raise error

    convert = torch.ops.aten._to_copy.default

    def widened(leaf: Any) -> Any:
        is_narrow = isinstance(leaf, torch.Tensor) and leaf.dtype in _NARROW
        return convert(leaf, dtype=torch.float32) if is_narrow else leaf

    def rounded(leaf: Any) -> Any:
        is_wide = isinstance(leaf, torch.Tensor) and leaf.dtype is torch.float32
        return convert(leaf, dtype=narrow) if is_wide else leaf

    args, kwargs = tree_map(widened, (args, kwargs))
    return tree_map(rounded, facts.op(*args, **kwargs))


def compile_op(
    op: OpOverload,
    cls: type[torch.Tensor],
    observers: tuple[Observer, ...],
    settle: Settle,
    override: Run | None,
) -> Run:
    """Generate the function that runs ``op`` on tensors of class ``cls``.

    ``settle`` accepts, converts or refuses mixed operands; ``override`` runs instead of the CPU
    kernel (called with the op's own arguments, natively, and its fresh results are wrapped).
    """
    facts = facts_of(op)
    if facts.is_composite:
        return lambda args, kwargs: op.decompose(*args, **kwargs)
    names: dict[str, Any] = {
        "D": cls,
        "T": torch.Tensor,
        "wrap": as_subclass,
        "wrap_sparse": make_subclass,
        "exclude": set_excluded,
        "PY": PYTHON_KEY,
        "settle": lambda args, kwargs: settle(facts, args, kwargs),
        "wrap_each": _wrap_each(cls, facts.returns_tensors),
    }
    body = _operand_check(facts)
    after = []
    for number, observer in enumerate(observers):
        watch = observer.watch(facts)
        if watch is None:
            continue
        if watch.count is not None:
            names[f"count{number}"] = watch.count
            body.append(f"count{number}[0] += 1")
        if watch.before is not None:
            names[f"before{number}"] = watch.before
            body.append(f"before{number}(args, kwargs)")
        if watch.after is not None:
            names[f"after{number}"] = watch.after
            after.append(f"after{number}(args, kwargs, out)")
    if override is not None:
        names["call"] = override
        calling = ["out = call(args, kwargs)"]
    else:
        names["call"] = direct_binding(facts) or op._op
        names["in_float32"] = functools.partial(_in_float32, facts)
        call = "call(*args, **kwargs)" if facts.has_keywords else "call(*args)"
        calling = [
            "try:", f"    out = {call}",
            "except RuntimeError as error:", "    out = in_float32(args, kwargs, error)",
        ]  # fmt: skip
    body += ["exclude(PY, True)", "try:"]
    body += [f"    {line}" for line in (*calling, *_wrap_lines(facts))]
    body += ["finally:", "    exclude(PY, False)", *after, "return out"]
    source = "def run(args, kwargs):\n" + "".join(f"    {line}\n" for line in body)
    exec(compile(source, f"<porter {facts.name}>", "exec"), names)
    run: Run = names["run"]
    return run
