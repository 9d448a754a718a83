"""The small modules that a drafted port imports: as many of their functions as it uses.

``devices.py`` knows the accelerator that is there. Importing it imports the vendor's package, if
one is installed, which makes the device known to torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

DEVICES = "devices"
LAYER_NORM = "layer_norm"

_DEVICES_HEAD = '''"""The accelerator that is there: CUDA, a Gaudi (hpu) or an Ascend (npu)."""
import torch

for package in ("habana_frameworks.torch.core", "torch_npu"):
    try:
        __import__(package)
    except ModuleNotFoundError:  # another vendor's machine, or none
        pass


def accelerator(index=None):
    """The name of the accelerator, or "cpu" without one; with the number of a card behind it.

    A process has one Gaudi card, and it is always number 0.
    """
    for kind in ("cuda", "hpu", "npu"):
        if hasattr(torch, kind) and getattr(torch, kind).is_available():
            return kind if index is None or kind == "hpu" else f"{kind}:{index}"
    return "cpu"
'''
_DEVICES = {
    "autocast": '''
def autocast(enabled=True, **options):
    """Mixed precision of the accelerator; on the CPU nothing is cast, as with CUDA's autocast."""
    kind = accelerator()
    return torch.autocast(kind, enabled=enabled and kind != "cpu", **options)
''',
    "at": '''
def at(values, index):
    """values[index] along the first axis; the index goes to the device as data."""
    where = torch.tensor([index % len(values)]).to(values.device)
    return values.index_select(0, where).squeeze(0)
''',
    "backend": '''
def backend():
    """The accelerator's backend of torch.distributed."""
    kind = accelerator()
    if kind == "hpu":
        import habana_frameworks.torch.distributed.hccl
    return {"cuda": "nccl", "cpu": "gloo"}.get(kind, "hccl")
''',
    "capturable": '''
def capturable():
    """Whether Adam counts its steps on the device: in lazy mode a number in Python recompiles."""
    return accelerator() == "hpu"
''',
    "device_count": '''
def device_count():
    """The number of cards."""
    kind = accelerator()
    return 0 if kind == "cpu" else getattr(torch, kind).device_count()
''',
    "device_ids": '''
def device_ids(ids):
    """What DistributedDataParallel gets: nothing on a Gaudi, whose process sees one card."""
    return ids if accelerator() in ("cuda", "npu") else None
''',
    "empty_cache": '''
def empty_cache():
    """Gives memory that the device's allocator keeps back. A Gaudi keeps none."""
    if accelerator() in ("cuda", "npu"):
        getattr(torch, accelerator()).empty_cache()
''',
    "mark_step": '''
def mark_step():
    """Ends the graph that the lazy mode of a Gaudi has gathered. Does nothing elsewhere."""
    if accelerator() == "hpu":
        import habana_frameworks.torch.core as core
        core.mark_step()
''',
    "set_device": '''
def set_device(index):
    """Chooses the card of this process. A Gaudi process has one card."""
    if accelerator() in ("cuda", "npu"):
        getattr(torch, accelerator()).set_device(index)
''',
    "synchronize": '''
def synchronize():
    """Waits for the accelerator."""
    if accelerator() != "cpu":
        getattr(torch, accelerator()).synchronize()
''',
}
_LAYER_NORM = {
    "LayerNormCHW": '''import torch
from torch import nn
from torch.nn import functional as F


class LayerNormCHW(nn.Module):
    """Layer normalization over all but the first axis, with one weight and one bias a channel.

    Computes what GroupNorm(1, num_channels) computes, and has its state dict."""

    def __init__(self, num_channels, eps=1e-5, affine=True):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones([num_channels])) if affine else None
        self.bias = nn.Parameter(torch.zeros([num_channels])) if affine else None

    def forward(self, input):
        # The shape is taken here, not in the constructor: any size is valid.
        out = F.layer_norm(input, input.shape[1:], eps=self.eps)
        if self.weight is None:
            return out
        shape = (-1, *[1] * (input.ndim - 2))
        return torch.addcmul(self.bias.view(shape), out, self.weight.view(shape))
''',
    "group_norm": '''

def group_norm(num_groups, num_channels, **options):
    """The norm for a number of groups that is only known when the model is made."""
    if num_groups == 1:
        return LayerNormCHW(num_channels, **options)
    return nn.GroupNorm(num_groups, num_channels, **options)
''',
}
PROVIDES = {
    DEVICES: ("accelerator", *_DEVICES),
    LAYER_NORM: tuple(_LAYER_NORM),
}
"""The names that each helper module can hold."""


def helper_of(name: str) -> str:
    """Return the module that provides a name."""
    return next(module for module, names in PROVIDES.items() if name in names)


def helper_text(module: str, names: Iterable[str], before: str = "") -> str:
    """Return the text of a helper module with the functions that are used.

    ``before`` is its text in the tree: what it holds stays, whoever wrote it.
    """
    used = set(names)
    head, parts = (_DEVICES_HEAD, _DEVICES) if module == DEVICES else ("", _LAYER_NORM)
    if module == LAYER_NORM:
        used.add("LayerNormCHW")
    held = {name for name in parts if re.search(rf"^(def|class) {name}\b", before, re.M)}
    space = "\n" if module == DEVICES else ""
    own = space.join([head, *(text for name, text in parts.items() if name in held)])
    if before in ("", own):
        return space.join([head, *(text for name, text in parts.items() if name in used | held)])
    new = [text for name, text in parts.items() if name in used - held]
    return "\n".join([before.rstrip("\n") + "\n" * bool(new), *new]) if new else before
