"""Sample a tensor for comparison: its shape, dtype, a hash of all of it, and some of its values.

Small tensors are kept whole. Of large ones every n-th element is kept; n is odd, so that no channel
is always missed in a tensor whose sizes are powers of two, and the hash shows whether *anything*
differs. Values are float64, which holds every element of every dtype here but large 64-bit
integers.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from porter.verify.harness.recording import host_view

SAMPLE = 1024
"""About how many elements are kept of a tensor."""

THINNER = ((0.8, 81), (0.4, 9))
"""Above this share of the space, only every n-th of those is kept: a long run is not cut off."""

VALUES = "activations.bin"


@dataclass
class Values:
    """The kept elements of many tensors, written to one file as float64."""

    most_bytes: int
    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    @property
    def thinning(self) -> int:
        """One of this many elements is kept now; 0 if there is no space left."""
        share = self.size * 8 / self.most_bytes
        if share >= 1:
            return 0
        return next((every for above, every in THINNER if share >= above), 1)

    def add(self, elements: torch.Tensor) -> list[int]:
        """Keep elements; return [offset, number]."""
        offset = self.size
        self.parts.append(raw(elements.double().contiguous()))
        self.size += elements.numel()
        return [offset, elements.numel()]

    def write(self, path: Path) -> None:
        """Write the file."""
        path.write_bytes(b"".join(self.parts))


def raw(tensor: torch.Tensor) -> bytes:
    """Return the bytes of a contiguous tensor (without numpy, which may be absent)."""
    return ctypes.string_at(tensor.data_ptr(), tensor.nbytes) if tensor.nbytes else b""


def sample_tensor(
    name: str, tensor: torch.Tensor, values: Values, sample: int
) -> dict[str, Any] | None:
    """Return a tensor's digest and sample; None for a layout that is not dense, or quantized."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return None
    shape, dtype = list(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    host = host_view(tensor)
    if host.is_complex():
        host = torch.view_as_real(host.resolve_conj())
    flat = host.resolve_neg().contiguous().reshape(-1)
    step = 1 if flat.numel() <= sample else (flat.numel() // sample) | 1
    step *= values.thinning
    return {
        "name": name,
        "shape": shape,
        "dtype": dtype,
        "digest": f"{dtype}{shape}:{fingerprint(flat):016x}",
        "step": step,
        "at": values.add(flat[::step]) if step else None,
    }


_CHUNK = 1 << 16
_MIX = 0x9E3779B97F4A7C15
_weights: list[torch.Tensor] = []


def fingerprint(flat: torch.Tensor) -> int:
    """Return a hash of the bits of a contiguous one-dimensional tensor on the host.

    A sum with random weights modulo 2**64, chunk by chunk: ten times as fast as a cryptographic
    hash, and as good for telling runs of the same program apart.
    """
    if not _weights:
        drawn = torch.Generator().manual_seed(20)
        _weights.append(
            torch.randint(-(2**63), 2**63 - 1, (_CHUNK,), generator=drawn, device="cpu") | 1
        )
    whole = flat.nbytes // 8 * 8
    octets = flat.view(torch.uint8)
    digest = flat.nbytes
    for chunk in octets[:whole].view(torch.int64).split(_CHUNK) if whole else ():
        digest = (digest * _MIX + int((chunk * _weights[0][: len(chunk)]).sum())) % 2**64
    rest = int.from_bytes(bytes(octets[whole:].tolist()), "little")
    return (digest * _MIX + rest) % 2**64


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (path, tensor) for every tensor in nested tuples, lists, mappings and dataclasses."""
    if isinstance(value, torch.Tensor):
        yield name or "0", value
        return
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        items = vars(value).items()
    for key, part in items:
        yield from tensors_in(part, f"{name}.{key}" if name else str(key))


def read_values(path: Path) -> torch.Tensor:
    """Return the elements in a file of :class:`Values`, as float64."""
    content = bytearray(path.read_bytes())
    if not content:
        return torch.zeros(0, dtype=torch.float64)
    return torch.frombuffer(content, dtype=torch.float64)
