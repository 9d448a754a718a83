"""Check and copy what a probe records, without the device's accounting noticing."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import torch

from porter.verify.harness.trace import DTYPES

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/+\[\]-]{0,119}\Z")


class ProbeError(Exception):
    """The probe used the API wrongly; the message says what to do instead."""


class Enough(BaseException):
    """Everything requested is recorded: the run may end here."""


def expect_name(call: str, name: str) -> None:
    """Raise ProbeError unless ``name`` can name an output, a counter or a section."""
    if not _NAME.match(name):
        raise ProbeError(f"{call}({name!r}): expected letters, digits and any of _ . : / + [ ] -")


def host_view(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor on the host, outside autograd; a simulated device's is not copied.

    For a simulated tensor this counts no transfer, does not synchronize and ends no graph.
    """
    if "porter.device.sim.core.tensor" in sys.modules:
        from porter.device.sim.core.tensor import DeviceTensor
        from porter.device.sim.core.transfer import host_alias

        if isinstance(tensor, DeviceTensor):
            return host_alias(tensor)
    return tensor.detach().to("cpu")


def keepable(name: str, value: Any) -> torch.Tensor:
    """Return a contiguous copy of ``value`` on the host; ProbeError if it cannot be recorded."""
    if not isinstance(value, torch.Tensor):
        raise ProbeError(f"record({name!r}): expected a tensor, found {type(value).__name__}")
    if value.layout != torch.strided or value.is_quantized:
        raise ProbeError(f"record({name!r}): expected a dense tensor, found {value.layout}")
    if value.is_complex():
        raise ProbeError(f"record({name!r}): complex; record torch.view_as_real(x) instead")
    if value.dtype not in DTYPES:
        raise ProbeError(f"record({name!r}): {value.dtype} cannot be recorded; cast it first")
    return host_view(value).clone(memory_format=torch.contiguous_format)


def image_of(name: str, source: Any) -> torch.Tensor:
    """Return an image file, or a PIL image, as uint8 of H x W x C (1, 3 or 4 channels)."""
    try:
        pillow = importlib.import_module("PIL.Image")
    except ImportError as error:
        raise ProbeError(
            f"record_image({name!r}): needs pillow; list it in the recipe's environment"
        ) from error
    if isinstance(source, str | Path):
        if not Path(source).is_file():
            raise ProbeError(f"record_image({name!r}): no such file: {source}")
        with pillow.open(source) as opened:
            opened.load()
            image = opened
    elif isinstance(source, pillow.Image):
        image = source
    else:
        found = type(source).__name__
        raise ProbeError(f"record_image({name!r}): expected a path or a PIL image, found {found}")
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGB")
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.reshape(image.height, image.width, len(image.getbands()))


def bytes_of(text: str) -> torch.Tensor:
    """Return a text as its UTF-8 bytes: uint8, one dimension."""
    raw = bytearray(text.encode("utf-8", "replace"))
    if not raw:
        return torch.zeros(0, dtype=torch.uint8)
    return torch.frombuffer(raw, dtype=torch.uint8).clone()


def files_of(name: str, folder: Path) -> str:
    """Return the relative paths of all files below ``folder``, sorted, one per line."""
    if not folder.is_dir():
        raise ProbeError(f"record_files({name!r}): no such folder: {folder}")
    paths = (path for path in folder.rglob("*") if not path.is_dir())
    kept = (path.relative_to(folder) for path in paths)
    return "".join(f"{p.as_posix()}\n" for p in sorted(kept) if "__pycache__" not in p.parts)
