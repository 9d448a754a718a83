"""Whether a module with random weights computes anything: its first call is looked at, once.

A network whose output is the same number everywhere, or whose inner layers give zeros, hides every
error before them, and all recipes pass on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from porter.verify.recording import ProbeError, host_view

_MOST_NAMED = 3


def watch_once(module: torch.nn.Module, warnings: list[str]) -> None:
    """Look at the first call of ``module``, which then is as it was.

    Raises ProbeError, within that call, when its output is constant; submodules that gave nothing
    but zeros are named in ``warnings``.
    """
    zero: dict[str, None] = {}
    hooks: list[torch.utils.hooks.RemovableHandle] = []

    def of_part(name: str) -> Any:
        def look(_module: torch.nn.Module, _args: Any, output: Any) -> None:
            if any(not seen.any() for seen in _floating(output)):
                zero[name] = None

        return look

    def of_whole(whole: torch.nn.Module, _args: Any, output: Any) -> None:
        for hook in hooks:
            hook.remove()
        for seen in _floating(output):
            if seen.numel() > 1 and bool((seen == seen.reshape(-1)[0]).all()):
                value = float(seen.reshape(-1)[0])
                raise ProbeError(
                    f"alive: {type(whole).__name__} gives {value:g} everywhere, so nothing that "
                    "happens inside can be seen; mind the gain, or zeros among its buffers"
                )
        if zero:
            names = ", ".join(list(zero)[:_MOST_NAMED])
            more = f" and {len(zero) - _MOST_NAMED} more" if len(zero) > _MOST_NAMED else ""
            kind = type(whole).__name__
            warnings.append(f"{kind}: all zeros from {names}{more}: errors before them are unseen")

    for name, part in module.named_modules():
        if part is not module:
            hooks.append(part.register_forward_hook(of_part(name)))
    hooks.append(module.register_forward_hook(of_whole))


def _floating(output: Any) -> Iterator[torch.Tensor]:
    """The dense floating tensors in an output, on the host."""
    if isinstance(output, torch.Tensor):
        usable = output.layout == torch.strided and not output.is_meta
        if output.is_floating_point() and output.numel() and usable:
            yield host_view(output)
    elif isinstance(output, dict):
        for value in output.values():
            yield from _floating(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _floating(value)
