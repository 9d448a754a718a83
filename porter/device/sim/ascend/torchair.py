"""``torchair``: Ascend's compile backend with its configuration, as ``torch_npu`` provides it.

A graph runs op by op; the places where the card's compiler would cut or refuse it are counted
(:mod:`porter.device.sim.torch_patches.compile_counts`). Options are checked against the vendor's
(``porter/device/sim/contract/torchair-options.json``) and change no result.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from porter.device.sim.contract import TORCHAIR_OPTIONS, load
from porter.device.sim.torch_patches.compile_counts import converted
from porter.device.sim.torch_patches.dynamo import cut_and_run_by_op, run_by_op

logger = logging.getLogger("torchair")


class OptionValue:
    """One option: its value as text, as the vendor's compiler reads it."""

    def __init__(self, default: Any = None, allowed: Sequence[Any] | None = None) -> None:
        self.default, self.optional = default, allowed
        self._value = default

    def __bool__(self) -> bool:
        return bool(self._value)

    @property
    def value(self) -> Any:
        """None, or the value as text; booleans are "1" and "0"."""
        if self._value is None or isinstance(self._value, list | tuple | dict):
            return self._value
        return str(int(self._value)) if isinstance(self._value, bool) else str(self._value)

    @value.setter
    def value(self, value: Any) -> None:
        if self.optional is not None and value not in self.optional:
            raise ValueError(f"Value {value!r} not in optional list {list(self.optional)!r}")
        self._value = value


class _Group:
    """A group of options; an assignment to an option that the vendor lacks is refused."""

    def __init__(self, name: str) -> None:
        classes = load(TORCHAIR_OPTIONS)["classes"]
        rows = dict(classes.get(name, {}))
        rows = {**classes.get(rows.pop("<base>", ""), {}), **rows}
        for option, row in rows.items():
            vars(self)[option] = _made(row)
            if option.startswith("_") and option != "_value":
                vars(self).setdefault(option.lstrip("_"), vars(self)[option])
        vars(self)["_name"] = name

    def __setattr__(self, option: str, value: Any) -> None:
        if option not in vars(self):
            known = [each for each in vars(self) if not each.startswith("_")]
            raise ValueError(
                f"{self._name.rpartition('.')[2]} has no option {option}, all options {known}"
            )
        held = vars(self)[option]
        if isinstance(held, OptionValue):
            held.value = value
        else:
            vars(self)[option] = value

    _name: str


def _made(row: Any) -> Any:
    if isinstance(row, str):
        known = row in load(TORCHAIR_OPTIONS)["classes"]
        return _Group(row) if known else SimpleNamespace()
    kind, *values = row
    return OptionValue(*values[: 2 if kind in ("OptionValue", "DeprecatedValue") else 1])


class CompilerConfig(_Group):
    """The options of a compilation, by group: ``config.mode``, ``config.debug.graph_dump.type``."""

    def __init__(self) -> None:
        super().__init__("compiler_config.CompilerConfig")


def get_compiler(compiler_config: CompilerConfig | None = None) -> Callable[..., Any]:
    """Return what compiles a graph of ATen ops, for a backend made with AOTAutograd."""
    return functools.partial(run_by_op, compiler_config=compiler_config)


def get_npu_backend(
    *,
    compiler_config: CompilerConfig | None = None,
    custom_decompositions: Mapping[Any, Any] | None = None,
) -> Callable[..., Any]:
    """Return the backend for ``torch.compile(backend=...)``.

    Raises TypeError for a configuration that is no :class:`CompilerConfig`.
    """
    if compiler_config is not None and not isinstance(compiler_config, CompilerConfig):
        raise TypeError(
            "get_npu_backend: expected a torchair.CompilerConfig, found "
            f"{type(compiler_config).__name__}"
        )

    def npu_backend(graph: Any, inputs: Any, **options: Any) -> Callable[..., Any]:
        return cut_and_run_by_op(graph, inputs, decompositions=custom_decompositions, **options)

    return npu_backend


def register_fx_node_ge_converter(aten_op: Any) -> Callable[[Any], Any]:
    """Take an op into compiled graphs: the decorated function converts it on the card."""
    if not isinstance(aten_op, torch._ops.OpOverload):
        raise TypeError(f"expected an op overload, found {type(aten_op).__name__}")

    def register(converter: Any) -> Any:
        converted.add(str(aten_op))
        return converter

    return register


def patch_for_hcom() -> None:
    """Make collectives traceable. PyTorch's own are, since 2.3.1: nothing changes."""


def use_internal_format_weight(model: torch.nn.Module) -> None:
    """Store a model's weights in the card's own format. No value changes."""


def cache_compile(
    func: Any,
    *,
    config: CompilerConfig | None = None,
    dynamic: bool = True,
    cache_dir: str | None = None,
    global_rank: int | None = None,
    tp_rank: int | None = None,
    pp_rank: int | None = None,
    **kwargs: Any,
) -> Callable[..., Any]:
    """Compile a function or bound method whole. The card keeps it on disk; here nothing is kept."""
    backend = get_npu_backend(compiler_config=config, **kwargs)
    compiled: Callable[..., Any] = torch.compile(
        func, backend=backend, dynamic=dynamic, fullgraph=True
    )
    return compiled


def set_dim_gears(t: Tensor, dim_gears: Mapping[int, Sequence[int]]) -> None:
    """Say which sizes a dimension takes; it is dynamic for Dynamo.

    Raises AssertionError for a dimension that the tensor lacks, or fewer than 2 or more than 100
    sizes.
    """
    for dim, gears in dim_gears.items():
        if not 0 <= dim < t.dim():
            raise AssertionError(
                f"Dim index in dim_gears must be in range [0, {t.dim() - 1}], but got {dim}."
            )
        if not 2 <= len(gears) <= 100 or not all(isinstance(g, int) and g for g in gears):
            raise AssertionError(
                f"gears of dim {dim}: expected 2 to 100 whole numbers that are not 0, found "
                f"{list(gears)}"
            )
        torch._dynamo.mark_dynamic(t, dim)
