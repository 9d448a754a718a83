"""Check on its first call that a module with random weights computes anything.

A network whose output is constant, or whose inner layers give zeros, hides every error before them,
and all recipes pass on it. One global hook serves all modules; hooks on the modules themselves
would be pickled and copied with them.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook

from porter.verify.harness.recording import ProbeError, host_view

_MOST_NAMED = 3


@dataclass
class _Call:
    """The first call of a watched module; ``zero`` names its parts that gave only zeros."""

    kind: str
    zero: dict[str, None] = field(default_factory=dict)
    is_over: bool = False


class LivenessCheck:
    """Checks the first call of each module given to :meth:`first_call`.

    A constant output raises ProbeError within that call; submodules that gave only zeros become a
    line of ``warnings``.
    """

    def __init__(self, warnings: list[str]) -> None:
        self._warnings = warnings
        self._parts: weakref.WeakKeyDictionary[torch.nn.Module, tuple[_Call, str]] = (
            weakref.WeakKeyDictionary()
        )
        self._hook: torch.utils.hooks.RemovableHandle | None = None

    def first_call(self, module: torch.nn.Module) -> None:
        """Check the next call of ``module``, its own output (named "") and those of its parts."""
        call = _Call(type(module).__name__)
        for name, part in module.named_modules():
            self._parts[part] = call, name
        if self._hook is None:
            self._hook = register_module_forward_hook(self._after_call)

    def _after_call(self, module: torch.nn.Module, _args: Any, output: Any) -> None:
        call, name = self._parts.get(module, (None, ""))
        if call is None or call.is_over:
            return
        if name:
            if any(not tensor.any() for tensor in floating(output)):
                call.zero[name] = None
            return
        call.is_over = True
        if self._hook is not None and all(other.is_over for other, _ in self._parts.values()):
            self._hook.remove()
            self._hook = None
            self._parts.clear()
        self._check(call, output)

    def _check(self, call: _Call, output: Any) -> None:
        for tensor in floating(output):
            first = tensor.reshape(-1)[0]
            if tensor.numel() > 1 and bool((tensor == first).all()):
                raise ProbeError(
                    f"alive: {call.kind} gives {float(first):g} everywhere, which hides any error"
                    " inside it; check the gain, and its buffers for zeros"
                )
        if call.zero:
            names = ", ".join(list(call.zero)[:_MOST_NAMED])
            more = len(call.zero) - _MOST_NAMED
            names += f" and {more} more" if more > 0 else ""
            self._warnings.append(
                f"{call.kind}: only zeros from {names}: errors before them cannot be seen"
            )


def floating(output: Any) -> Iterator[torch.Tensor]:
    """Yield the dense floating tensors of an output, on the host."""
    if isinstance(output, torch.Tensor):
        usable = output.layout == torch.strided and not output.is_meta
        if output.is_floating_point() and usable and output.numel():
            yield host_view(output)
    elif isinstance(output, dict):
        for value in output.values():
            yield from floating(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from floating(value)
