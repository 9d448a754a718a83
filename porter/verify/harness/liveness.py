"""Whether a module with random weights computes anything: its first call is looked at, once.

A network whose output is the same number everywhere, or whose inner layers give zeros, hides every
error before them, and all recipes pass on it. One hook for all modules, so that nothing is attached
to them that would be pickled or copied with them.
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
    """The first call of a watched module, while it goes on: parts that gave only zeros."""

    kind: str
    zero: dict[str, None] = field(default_factory=dict)
    is_over: bool = False


class Watch:
    """Looks at the first call of each module given to :meth:`first_call`.

    A constant output raises ProbeError within that call; submodules that gave nothing but zeros
    become a line of ``warnings``.
    """

    def __init__(self, warnings: list[str]) -> None:
        self._warnings = warnings
        self._parts: weakref.WeakKeyDictionary[torch.nn.Module, tuple[_Call, str]] = (
            weakref.WeakKeyDictionary()
        )
        self._hook: torch.utils.hooks.RemovableHandle | None = None

    def first_call(self, module: torch.nn.Module) -> None:
        """Look at the next call of ``module``, the whole (named "") and its parts."""
        call = _Call(type(module).__name__)
        for name, part in module.named_modules():
            self._parts[part] = call, name
        if self._hook is None:
            self._hook = register_module_forward_hook(self._look)

    def _look(self, module: torch.nn.Module, _args: Any, output: Any) -> None:
        call, name = self._parts.get(module, (None, ""))
        if call is None or call.is_over:
            return
        if name:
            if any(not seen.any() for seen in floating(output)):
                call.zero[name] = None
            return
        call.is_over = True
        if self._hook is not None and all(other.is_over for other, _ in self._parts.values()):
            self._hook.remove()
            self._hook = None
            self._parts.clear()
        self._judge(call, output)

    def _judge(self, call: _Call, output: Any) -> None:
        for seen in floating(output):
            first = seen.reshape(-1)[0]
            if seen.numel() > 1 and bool((seen == first).all()):
                raise ProbeError(
                    f"alive: {call.kind} gives {float(first):g} everywhere, so nothing that happens"
                    " inside can be seen; mind the gain, and zeros among its buffers"
                )
        if call.zero:
            names = ", ".join(list(call.zero)[:_MOST_NAMED])
            more = len(call.zero) - _MOST_NAMED
            names += f" and {more} more" if more > 0 else ""
            told = f"{call.kind}: only zeros from {names}: errors before them cannot be seen"
            self._warnings.append(told)


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
