"""Sample images of a recipe as PNG: the reference, every level's, and where they differ.

Images are outputs recorded as such (uint8, H x W x C), and float outputs of one or three channels
whose name contains "image" or "sample" and whose reference lies in [0, 1] or about [-1, 1].
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from porter.verify.plan.matrix import judged_specs, reference_spec

if TYPE_CHECKING:
    import torch

    from porter.report.html_report.stored import JudgedRecipe, StoredRun
    from porter.verify.plan.matrix import RunSpec

LARGEST = 128
"""Pixels of the longer side; larger images are averaged down."""
MOST_OUTPUTS = 2
_SMALLEST = 8
_FAR_FROM_ONE = 4.0
_RAMP = ((11, 16, 32), (30, 64, 120), (194, 65, 12), (255, 247, 237))
"""Colours of a difference map, from no difference to the greatest one of the map."""
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
"""Channels -> colour type: grey, RGB, RGB with alpha."""


@dataclass(frozen=True)
class Sample:
    """One level's image beside the reference. ``picture`` and ``difference`` are data URIs, empty
    where the image equals the reference: pixel for pixel, or for a float output to one step of 255.
    ``greatest`` is the greatest difference in the output's own units."""

    level: int
    level_name: str
    device: str
    picture: str
    difference: str
    greatest: float


@dataclass(frozen=True)
class SampleRow:
    """One output's images: the reference first, then a sample per level and device."""

    output: str
    variant: str
    width: int
    height: int
    shown_as: str
    reference: str
    samples: tuple[Sample, ...]


def sample_rows(judged: JudgedRecipe) -> list[SampleRow]:
    """Return the images of a recipe's first seed and last variant, of at most two outputs."""
    planned = judged.planned
    recipe = planned.loaded.recipe
    specs = [
        spec
        for spec in judged_specs(planned)
        if spec.seed == recipe.seeds[0]
        and spec.variant == recipe.variants[-1]
        and spec.dtype == recipe.dtypes[0]
        and spec in judged.runs
    ]
    exact = judged.runs.get(reference_spec(planned, specs[0])) if specs else None
    rows: list[SampleRow] = []
    for name in _names(exact) if exact else ():
        assert exact is not None
        reference = exact.tensor(name)
        scale = _scale(exact.outputs[name]["kind"], reference)
        if scale is not None and len(rows) < MOST_OUTPUTS:
            rows.append(_row(judged, name, reference, scale, specs))
    return rows


def _names(run: StoredRun) -> Iterator[str]:
    """Yield the outputs that may be images by name and shape; recorded images come first."""
    files = [name for name, output in run.outputs.items() if output.get("kind") == "image"]
    yield from files
    for name, output in run.outputs.items():
        shape = tuple(output["shape"][-3:])
        if name in files or not str(output["dtype"]).endswith(("float64", "float32", "float16")):
            continue
        is_image = len(output["shape"]) in (3, 4) and shape[0] in (1, 3)
        named = "image" in name.lower() or "sample" in name.lower()
        if named and is_image and min(shape[1:]) >= _SMALLEST:
            yield name


@dataclass(frozen=True)
class _Scale:
    """How an output becomes pixels: ``(x - low) / (high - low)``, clipped at both ends."""

    low: float
    high: float
    is_file: bool

    @property
    def words(self) -> str:
        return "" if self.is_file else f"from [{self.low:g}, {self.high:g}], clipped"


def _scale(kind: str, x: torch.Tensor) -> _Scale | None:
    if kind == "image":
        return _Scale(0.0, 255.0, True)
    low, high = float(x.min()), float(x.max())
    if low >= 0 and high <= 1:
        return _Scale(0.0, 1.0, False)
    return _Scale(-1.0, 1.0, False) if max(-low, high) <= _FAR_FROM_ONE else None


def _row(
    judged: JudgedRecipe, name: str, exact: torch.Tensor, scale: _Scale, specs: list[RunSpec]
) -> SampleRow:
    base = _pixels(exact, scale)
    samples = []
    for spec in specs:
        run = judged.runs[spec]
        if run.outputs.get(name, {}).get("shape") != list(exact.shape):
            continue
        found = run.tensor(name)
        gap = (_first(found).double() - _first(exact).double()).abs()
        pixels = _pixels(found, scale)
        # A float that ends between two of 256 steps may round either way.
        same = bool(((pixels - base).abs() <= (0 if scale.is_file else 1)).all())
        sample = Sample(
            level=spec.level,
            level_name=judged.planned.levels[spec.level].name,
            device=spec.device,
            picture="" if same else _picture(_reduced(pixels)),
            difference="" if same else _heat(gap if scale.is_file else gap.permute(1, 2, 0)),
            greatest=float(gap.max()),
        )
        samples.append(sample)
    return SampleRow(
        output=name,
        variant=", ".join(f"{key}={value}" for key, value in specs[0].variant),
        width=int(base.shape[1]),
        height=int(base.shape[0]),
        shown_as=scale.words,
        reference=_picture(_reduced(base)),
        samples=tuple(samples),
    )


def _first(x: torch.Tensor) -> torch.Tensor:
    return x[0] if x.dim() == 4 else x


def _pixels(x: torch.Tensor, scale: _Scale) -> torch.Tensor:
    """Return H x W x C in 0..255, as whole numbers in float64."""
    x = _first(x).double()
    if not scale.is_file:
        x = ((x - scale.low) / (scale.high - scale.low) * 255).nan_to_num().permute(1, 2, 0)
    return x.clamp(0, 255).round()


def _reduced(pixels: torch.Tensor) -> torch.Tensor:
    """Average an image down to LARGEST pixels on the longer side."""
    import torch

    height, width = pixels.shape[:2]
    by = -(-max(height, width) // LARGEST)
    if by == 1:
        return pixels
    planes = pixels.permute(2, 0, 1).unsqueeze(0)
    smaller = torch.nn.functional.avg_pool2d(planes, by, ceil_mode=True)[0]
    return smaller.permute(1, 2, 0).round()


def _picture(pixels: torch.Tensor) -> str:
    """Return pixels as a PNG in a ``data:`` URI, which a page shows without a request."""
    import torch

    height, width, channels = pixels.shape
    raw = bytes(pixels.to(torch.uint8).flatten().tolist())
    png = encode_png(raw, width, height, channels)
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _heat(gap: torch.Tensor) -> str:
    """Return a map of the greatest difference of any channel, scaled to its own maximum."""
    import torch

    plane = gap.nan_to_num(posinf=0.0).amax(dim=2)
    by = -(-max(plane.shape) // LARGEST)
    if by > 1:
        pooled = torch.nn.functional.max_pool2d(plane[None, None], by, ceil_mode=True)
        plane = pooled[0, 0]
    greatest = float(plane.max())
    at = (plane / greatest if greatest > 0 else plane) * (len(_RAMP) - 1)
    at = (at * 8).round() / 8  # few colours compress well
    ramp = torch.tensor(_RAMP, dtype=torch.float64)
    low = at.floor().clamp(max=len(_RAMP) - 2).long()
    part = (at - low).unsqueeze(-1)
    return _picture((ramp[low] * (1 - part) + ramp[low + 1] * part).round())


def encode_png(pixels: bytes, width: int, height: int, channels: int) -> bytes:
    """Return 8-bit pixels, row by row, as a PNG file, made with zlib alone.

    ``channels`` is 1, 3 or 4. W3C PNG specification, third edition: https://www.w3.org/TR/png-3/
    """
    stride = width * channels
    if len(pixels) != stride * height or channels not in _PNG_COLOUR_TYPES:
        raise ValueError(f"{len(pixels)} bytes are not a {width} x {height} x {channels} image")
    rows = b"".join(b"\x00" + pixels[at : at + stride] for at in range(0, len(pixels), stride or 1))
    head = struct.pack(">IIBBBBB", width, height, 8, _PNG_COLOUR_TYPES[channels], 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return _PNG_SIGNATURE + b"".join(_png_chunk(kind, data) for kind, data in parts)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
