"""The keys of a recipe file, as types; :mod:`porter.verify.recipe.load` explains them."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

from msgspec import Meta, field

from porter.verify.recipe.claims import (
    Claim,
    DeviceName,
    DtypeName,
    LevelSelection,
    LevelText,
    Model,
    Positive,
    Reason,
    Values,
    as_text,
)

NATIVE = "native"
"""The dtype of a run whose probe or script chooses dtypes itself."""
UPSTREAM = "upstream"

FileText = Annotated[str, Meta(min_length=1, description="a file name beside the recipe")]
NeedText = Annotated[
    str,
    Meta(
        min_length=1,
        description="a folder ('src/'), a file or a shell pattern ('src/**/*.py') of the tree;"
        " with '!' before it, it takes out. Documentation, media and tests beside code count only"
        " where an entry names the file, its suffix or its folder",
    ),
]
Variant = tuple[tuple[str, str], ...]
"""One value for each varied parameter: (name, value as JSON), in the recipe's order."""


class Limits(Model, frozen=True):
    """The limits of one run."""

    seconds: Positive = 120.0
    memory_gib: Positive = 4.0


class Reference(Model, frozen=True):
    """Where level 0 is the reference. ``dtype`` default: float64, or native in a native recipe."""

    device: DeviceName = "cpu"
    dtype: DtypeName | None = None


class Baseline(Model, frozen=True):
    """Where level 0, in the run's own dtype, is the allowance."""

    device: DeviceName


class Recipe(Model, frozen=True):
    """One recipe file. See :mod:`porter.verify.recipe.load` for every key."""

    version: Annotated[int, Meta(ge=1, le=1, description="1 (the format's version)")]
    title: Annotated[str, Meta(min_length=1, description="a title of one line")]
    probe: FileText
    claims: tuple[Claim, ...]
    environment: FileText | None = None
    source_roots: tuple[str, ...] = (".",)
    companions: dict[str, LevelText] = field(default_factory=dict)
    needs: tuple[NeedText, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    vary: dict[str, Values] = field(default_factory=dict)
    seeds: tuple[
        Annotated[int, Meta(ge=0, le=2**53, description="a whole number, 0 or more")], ...
    ] = (0,)
    levels: LevelSelection = "all"
    devices: tuple[DeviceName, ...] = ("cpu",)
    dtypes: tuple[DtypeName, ...] = ("float32",)
    reference: Reference = Reference()
    baseline: Baseline | None = None
    environ: dict[str, str | dict[str, str]] = field(default_factory=dict)
    limits: Limits = Limits()
    threads: Annotated[int, Meta(ge=1, le=1024, description="a whole number, 1 or more")] = 1
    tags: tuple[str, ...] = ()
    migration_log: bool = False
    contract: Annotated[
        bool, Meta(description="false: no claim without the key `contract` is contract")
    ] = True
    ours: Reason | None = None
    one_part: Reason | None = None

    @property
    def reference_dtype(self) -> DtypeName:
        """The dtype of the reference run."""
        if self.reference.dtype is not None:
            return self.reference.dtype
        return "native" if self.dtypes == (NATIVE,) else "float64"

    @property
    def baseline_device(self) -> DeviceName:
        """The device whose level 0 is the allowance."""
        return self.baseline.device if self.baseline else self.reference.device

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Every combination of varied values; a single empty one if nothing varies."""
        values = [[(name, as_text(v)) for v in several] for name, several in self.vary.items()]
        return tuple(itertools.product(*values))

    def environ_on(self, device: str) -> dict[str, str]:
        """Return the variables of a run on ``device``; those for this device override others.

        A real device without any gets its simulated twin's.
        """
        everywhere = {k: v for k, v in self.environ.items() if isinstance(v, str)}
        there = self.environ.get(device, self.environ.get(twin_of(device), {}))
        return everywhere | (there if isinstance(there, dict) else {})


def is_simulated(device: str) -> bool:
    """Whether the device of this name is simulated on the CPU."""
    return device.startswith("sim:")


def is_accelerator(device: str) -> bool:
    """Whether the device of this name is a card of this machine."""
    return device != "cpu" and not is_simulated(device)


def twin_of(device: str) -> str:
    """Return the simulated device whose claims hold on a card as well: "sim:hpu" of "hpu"."""
    return f"sim:{device}" if is_accelerator(device) else device
