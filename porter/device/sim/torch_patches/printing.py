"""How a device tensor prints: as PyTorch prints tensors of that device."""

from __future__ import annotations

import torch
from torch import _tensor_str

from porter.device.sim.core.tensor import DeviceTensor


def describe(tensor: DeviceTensor) -> str:
    """Return the text of ``repr(tensor)``. Printing reads the values: a transfer to the host."""
    host = tensor.detach().cpu()
    if host.layout != torch.strided:
        return f"{host!r}".removesuffix(")") + f", device='{tensor.device}')"
    suffixes = [f"device='{tensor.device}'"]
    default = (torch.get_default_dtype(), torch.int64, torch.bool)
    if host.numel() == 0:
        body = "[]"
        if host.dim() != 1:
            suffixes.insert(0, f"size={tuple(host.shape)}")
        if host.dtype != torch.get_default_dtype():
            suffixes.append(f"dtype={host.dtype}")
    else:
        body = _tensor_str._tensor_str(host, len("tensor("))
        if host.dtype not in default:
            suffixes.append(f"dtype={host.dtype}")
    if tensor.grad_fn is not None:
        suffixes.append(f"grad_fn=<{type(tensor.grad_fn).__name__}>")
    elif tensor.requires_grad:
        suffixes.append("requires_grad=True")
    text: str = _tensor_str._add_suffixes(
        "tensor(" + body, suffixes, len("tensor("), force_newline=False
    )
    if isinstance(tensor, torch.nn.Parameter):
        return "Parameter containing:\n" + text
    return text
