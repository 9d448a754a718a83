"""The models of v-diffusion at a fraction of their width, without editing them.

Upstream's constructors take no arguments. They find their blocks by name among their module's
globals, so for the time of one construction the blocks there are replaced by functions that divide
what counts channels, features or heads by the wanted factor. Depth, block order and everything
outside the blocks (pooling, upsampling, Fourier features, the timestep mapping) stay upstream's.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

# Widths that are not the model's own: image channels, with the timestep's features, and what the
# mapping of cc12m_1 reads (CLIP embedding and timestep features).
KEPT = frozenset({3, 3 + 16, 512 + 128})
WIDTHS = frozenset({"f_in", "f_mid", "f_out", "feats_in", "c_in", "c_mid", "c_out", "n_head"})
BLOCKS = ("ResModConvBlock", "ResConvBlock", "ResLinearBlock", "SelfAttention2d")


def narrow(model: str, factor: int) -> torch.nn.Module:
    """Build ``model`` (a name such as ``cc12m_1``) with all widths divided by ``factor``."""
    from diffusion.models.models import get_model

    build = get_model(model)
    module = import_module(build.__module__)
    blocks = {name: getattr(module, name) for name in BLOCKS if hasattr(module, name)}
    try:
        for name, block in blocks.items():
            setattr(module, name, _narrowed(block, factor))
        built: torch.nn.Module = build()
    finally:
        for name, block in blocks.items():
            setattr(module, name, block)
    return built


def _narrowed(block: Callable[..., Any], factor: int) -> Callable[..., Any]:
    signature = inspect.signature(block)

    @functools.wraps(block, updated=())
    def build(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        for name in WIDTHS & bound.arguments.keys():
            width = bound.arguments[name]
            bound.arguments[name] = width if width in KEPT else max(1, width // factor)
        return block(*bound.args, **bound.kwargs)

    return build
