"""`import diffusion` where torch stands alone, for probes of its models and samplers.

`diffusion/utils.py` imports requests and torchvision for files and pictures, which only the scripts
read and write, and `diffusion/sampling.py` tqdm for its progress bar, which no run shows. Empty
modules stand in for the first two, so that a call of theirs raises AttributeError, and `range` for
tqdm's. Nothing else of the level's tree is replaced.
"""

from __future__ import annotations

import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any

_EMPTY = ("requests", "torchvision", "torchvision.transforms", "torchvision.transforms.functional")


def stand_in() -> None:
    """Put the modules in place, whether or not the libraries are installed."""
    if "diffusion" in sys.modules:
        raise ImportError("diffusion is imported already: stand_in() must come first")
    for name in _EMPTY:
        _put(name)
    _put("tqdm")
    _put("tqdm.auto").trange = _range  # type: ignore[attr-defined]


def _put(name: str) -> types.ModuleType:
    module = sys.modules[name] = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)  # torch looks for it
    return module


def _range(*bounds: int, **_shown: Any) -> range:
    return range(*bounds)
