"""What a probe file sees: ``def run(probe: Probe) -> None``.

A probe builds the upstream's own classes from the level's tree (already on ``sys.path``), gives
them small random weights and inputs, and records named outputs::

    import torch
    from diffusion.models.cc12m_1 import CC12M1Model   # the level's own

    def run(probe):
        model = probe.alive(CC12M1Model())          # weights drawn, cast, moved, eval mode
        x = probe.normal("x", 1, 3, 64, 64)         # the same at every level and dtype
        with torch.no_grad():
            probe.record("image", model(x, ...))

It runs once per level, dtype and seed, each in its own process, in its own empty working folder,
with ``HOME`` and the caches of XDG and Hugging Face inside that folder, offline flags of the
Hugging Face libraries set, a fixed hash seed, and threads pinned. Whatever is random must come from
the probe: draws are made in float64 on the CPU and then cast, so every level and dtype sees the
same weights and inputs. ``torch``, ``random`` and (where imported) ``numpy`` are seeded with the
seed before ``run`` all the same.

In the reference run (``probe.dtype`` is float64) torch's default dtype is float64 too, so that
constants upstream makes on the way (``linspace``, ``tensor(0.5)``) are exact there; in every other
run it is torch's own default, float32. A probe whose upstream cannot bear that may set it back.

This module runs in the probe's interpreter: torch and the standard library only.
"""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path
from typing import Any, TypeVar

import torch

from porter.verify.trace import DTYPES

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/+\[\]-]{0,119}\Z")
_MOST_BYTES = 2**30

M = TypeVar("M", bound=torch.nn.Module)


class ProbeError(Exception):
    """The probe asked for something the API cannot give; the text says what to do instead."""


class Probe:
    """One run: what to run it in, and where its outputs go.

    Attributes: ``dtype`` (torch.dtype), ``device`` (torch.device), ``seed`` (int), ``parameters``
    (the recipe's mapping), ``tree`` (the level's folder), ``companions`` (name -> folder),
    ``folder`` (where the probe file stands), ``scratch`` (the empty working folder, removed
    afterwards).
    """

    def __init__(
        self,
        *,
        dtype: torch.dtype,
        device: torch.device,
        seed: int,
        parameters: dict[str, Any],
        tree: Path,
        companions: dict[str, Path],
        folder: Path,
        scratch: Path,
    ) -> None:
        self.dtype = dtype
        self.device = device
        self.seed = seed
        self.parameters = parameters
        self.tree = tree
        self.companions = companions
        self.folder = folder
        self.scratch = scratch
        self.outputs: dict[str, torch.Tensor] = {}
        self.counters: dict[str, int] = {}

    def record(self, name: str, value: torch.Tensor) -> None:
        """Keep a copy of ``value`` as the output ``name`` (any shape and real dtype; CPU copy).

        Raises ProbeError for a name used twice, a value that is no dense real tensor, or more than
        1 GiB of outputs.
        """
        if not _NAME.match(name):
            raise ProbeError(
                f"record({name!r}): expected letters, digits and any of _ . : / + [ ] -"
            )
        if name in self.outputs:
            raise ProbeError(f"record({name!r}): recorded twice in one run; number the names")
        if not isinstance(value, torch.Tensor):
            raise ProbeError(f"record({name!r}): expected a tensor, found {type(value).__name__}")
        if value.layout != torch.strided or value.is_quantized:
            raise ProbeError(f"record({name!r}): expected a dense tensor, found {value.layout}")
        if value.is_complex():
            raise ProbeError(f"record({name!r}): complex; record torch.view_as_real(x) instead")
        if value.dtype not in DTYPES:
            raise ProbeError(f"record({name!r}): {value.dtype} cannot be kept; cast it first")
        kept = value.detach().to("cpu", copy=True).contiguous()
        total = sum(t.nbytes for t in self.outputs.values()) + kept.nbytes
        if total > _MOST_BYTES:
            raise ProbeError(f"record({name!r}): {total} bytes of outputs, at most {_MOST_BYTES}")
        self.outputs[name] = kept

    def count(self, name: str, number: int) -> None:
        """Keep the counter ``name``; counted twice, the numbers add up."""
        if not _NAME.match(name):
            raise ProbeError(
                f"count({name!r}): expected letters, digits and any of _ . : / + [ ] -"
            )
        self.counters[name] = self.counters.get(name, 0) + int(number)

    def generator(self, *labels: object) -> torch.Generator:
        """Return a CPU generator seeded from the run's seed and ``labels``."""
        text = repr((self.seed, *(str(label) for label in labels)))
        digest = hashlib.sha256(text.encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    def normal(self, label: str, *shape: int, scale: float = 1.0) -> torch.Tensor:
        """Return normals of deviation ``scale``: drawn in float64, cast, moved to the device.

        The same ``label`` and number of elements always give the same numbers.
        """
        drawn = self._draw(label, math.prod(shape)).reshape(shape)
        return (drawn * scale).to(self.device, self.dtype)

    def uniform(self, label: str, *shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        """Return numbers of [low, high), drawn in float64, cast, moved to the device."""
        drawn = torch.rand(math.prod(shape), generator=self.generator(label), dtype=torch.float64)
        return (low + (high - low) * drawn.reshape(shape)).to(self.device, self.dtype)

    def alive(self, module: M, label: str = "weights", gain: float = 1.0) -> M:
        """Give every parameter of ``module`` fresh numbers, cast it, move it, set it to eval mode.

        Nothing stays zero (upstreams initialise last layers to zero, which hides every error before
        them). Draws depend on the seed, ``label``, the parameter's name and its number of elements
        only, not on order or level: matrices and kernels are normal with deviation
        ``gain / sqrt(fan-in)``, so that activations keep their size; vectors are 1 + 0.1 normal
        where the name ends in ``weight`` (norms) and 0.1 normal elsewhere (biases). Buffers keep
        their values. Parameters of other than floating dtype are left alone.
        """
        module = module.to("cpu", torch.float64)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if parameter.is_floating_point():
                    parameter.copy_(self._weights(f"{label}:{name}", parameter, gain))
        return module.to(self.device, self.dtype).eval()

    def _weights(self, label: str, like: torch.Tensor, gain: float) -> torch.Tensor:
        drawn = self._draw(label, like.numel()).reshape(like.shape)
        if like.dim() >= 2:
            return drawn * (gain / math.sqrt(max(1, math.prod(like.shape[1:]))))
        return 1.0 + 0.1 * drawn if label.endswith("weight") else 0.1 * drawn

    def _draw(self, label: str, number: int) -> torch.Tensor:
        return torch.randn(number, generator=self.generator(label), dtype=torch.float64)
