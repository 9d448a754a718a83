"""Replace "cuda" in a call's arguments by the target device, and log it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from porter.migrate.log import MigrationLog

KEYWORDS = ("device", "device_type", "map_location", "device_id", "pin_memory_device")
_LONGEST = 60


def retarget(value: Any, target: str) -> Any:
    """Replace cuda by the target in a string, a device or a mapping of them."""
    if isinstance(value, str):
        if value == "cuda" or value.startswith("cuda:"):
            return target + value[4:]
        return value
    if isinstance(value, torch.device):
        return torch.device(retarget(str(value), target)) if value.type == "cuda" else value
    if isinstance(value, dict) and any(isinstance(k, str | torch.device) for k in value):
        found = {retarget(k, target): retarget(v, target) for k, v in value.items()}
        return found if found != value else value
    return value


def retarget_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], target: str, *, integers: bool = False
) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
    """Return the arguments with cuda replaced, and whether any was.

    With ``integers`` a bare first number is a device index, as in ``module.to(0)``.
    """
    changed = False
    found = []
    for position, value in enumerate(args):
        new = retarget(value, target)
        if integers and position == 1 and type(value) is int:
            new = torch.device(target, value)
        changed = changed or new is not value
        found.append(new)
    for name in KEYWORDS:
        if name in kwargs:
            value = kwargs[name]
            new = retarget(value, target)
            if name == "device" and type(value) is int:
                new = torch.device(target, value)
            if new is not value:
                kwargs = {**kwargs, name: new}
                changed = True
    return (tuple(found), kwargs, True) if changed else (args, kwargs, False)


def show_value(value: Any) -> str:
    """Return a value as text for the log: short, and the same in every run."""
    if isinstance(value, torch.Tensor):
        shape = "x".join(map(str, value.shape)) or "scalar"
        return f"tensor<{shape} {str(value.dtype).removeprefix('torch.')}>"
    if isinstance(value, torch.nn.Module):
        return type(value).__name__
    if isinstance(value, str | int | float | bool | type(None) | torch.dtype | torch.Size):
        text = repr(value)
    elif isinstance(value, torch.device):
        text = repr(str(value))
    elif isinstance(value, list | tuple):
        inner = ", ".join(show_value(v) for v in value[:8]) + (", ..." if len(value) > 8 else "")
        text = f"[{inner}]" if isinstance(value, list) else f"({inner})"
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{show_value(k)}: {show_value(v)}" for k, v in value.items()) + "}"
    else:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def show_call(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return ``name(args, key=value)`` on one line."""
    parts = [show_value(value) for value in args]
    parts += [f"{key}={show_value(value)}" for key, value in kwargs.items()]
    return f"{name}({', '.join(parts)})"


def with_target(
    function: Callable[..., Any], api: str, target: str, log: MigrationLog, *, method: bool = False
) -> Callable[..., Any]:
    """Wrap ``function`` so that cuda in its arguments becomes the target and the call is logged."""
    integers = api.endswith((".to", ".to_empty"))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        new_args, new_kwargs, changed = retarget_call(args, kwargs, target, integers=integers)
        if changed:
            skip = 1 if method else 0
            served = show_call(api, new_args[skip:], new_kwargs)
            log.record(api, "match", lambda: show_call(api, args[skip:], kwargs), served)
        return function(*new_args, **new_kwargs)

    call.__porter_original__ = function  # type: ignore[attr-defined]
    return call
