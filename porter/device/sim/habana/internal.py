"""``habana_frameworks.torch.utils.internal`` and ``internal.bridge_config``: modes and flags.

The flags, with their defaults, are those of the bridge's ``scripts/env_flags.yaml``
(``porter/device/sim/contract/habana-frameworks.json``); the functions are named as its
``scripts/generate_env.py`` names them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from porter.device.sim.accounting.ledger import lazy_by_environment
from porter.device.sim.contract import HABANA, load
from porter.device.sim.core.machine import machines

_NOWHERE = "/simulated/habana_frameworks/torch"
_OFF = ("0", "false", "off", "no", "n")


def is_lazy() -> bool:
    """Whether this process is in lazy mode: by the variable, else by the simulated release.

    Source: ``habana_frameworks/torch/utils/internal.py`` of HabanaAI/gaudi-pytorch-bridge 1.19.0.
    """
    machine = machines.get("hpu")
    return lazy_by_environment(os.environ, machine.profile.release if machine else None)


def lazy_only(func: Callable[..., Any]) -> Callable[..., None]:
    """Make a function do nothing in eager mode."""

    def call(*args: Any, **kwargs: Any) -> None:
        if is_lazy():
            func(*args, **kwargs)

    return call


class Timer:
    """``with Timer() as t:`` measures seconds of the host; ``t.elapsed``."""

    def __init__(self) -> None:
        self.start_t: float | None = None
        self.end_t: float | None = None

    def __enter__(self) -> Timer:
        self.start_t = time.perf_counter()
        return self

    def __exit__(self, type: Any, value: Any, traceback: Any) -> None:
        self.end_t = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds between begin and end of the block. Raises TypeError before its end."""
        assert self.start_t is not None
        assert self.end_t is not None
        return self.end_t - self.start_t


def _flag(name: str, default: Any) -> Callable[[], Any]:
    def read() -> Any:
        value = os.environ.get(name)
        if value is None:
            return default
        if isinstance(default, bool):
            return value.lower() not in _OFF
        return int(value, 0) if isinstance(default, int) else value

    read.__name__ = f"get_{name.lower()}"
    read.__doc__ = f"Return {name} of the environment, or its default."
    return read


FLAGS = {f"get_{n.lower()}": _flag(n, d) for n, d in load(HABANA)["environment"].items()}
"""The functions of ``internal.bridge_config`` that read a flag."""
globals().update(FLAGS)


def enable_compiled_autograd(**kwargs: Any) -> None:
    """Compile backwards too, on the card. Here a backward runs by op: nothing changes."""
    del kwargs


def get_include_dir() -> str:
    """Return the folder of the package's C++ headers, which does not exist here."""
    return f"{_NOWHERE}/include"


def get_lib_dir() -> str:
    """Return the folder of the package's libraries, which does not exist here."""
    return f"{_NOWHERE}/lib"
