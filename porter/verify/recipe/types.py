"""Types that a recipe selects by: levels, devices, dtypes and values of varied parameters."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

DtypeName = Literal["float64", "float32", "float16", "bfloat16", "native"]
DeviceName = Literal["cpu", "cuda", "hpu", "npu", "sim:cuda", "sim:hpu", "sim:npu"]

NATIVE = "native"
"""The dtype of a run whose probe or script chooses dtypes itself."""
PREVIOUS = "previous"
"""The level before the one that is judged."""

LevelText = str | int
LevelName = Annotated[str, Meta(min_length=1, description="a level's name or number")] | int


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of everything in a recipe: immutable, and a misspelt key is an error."""


class LevelRange(Model, frozen=True, rename={"first": "from", "last": "to"}):
    """Levels from ``from`` to ``to``, both included; either may be left out."""

    first: LevelText | None = None
    last: LevelText | None = None


LevelSelection = Literal["all"] | LevelRange | tuple[LevelText, ...]

Values = Annotated[tuple[Any, ...], Meta(description="a list of values")]


def is_simulated(device: str) -> bool:
    """Whether the device of this name is simulated on the CPU."""
    return device.startswith("sim:")
