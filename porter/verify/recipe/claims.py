"""The kinds of claim a recipe can make. ``docs/recipes.md`` says when to use which.

One claim names outputs, counters or a throughput, and holds them to exactly one kind. The measures
behind the kinds are defined in :mod:`porter.verify.judge.compare` (outputs),
:mod:`porter.verify.judge.counters` (counters) and :mod:`porter.verify.judge.throughput`.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, field

from porter.device.sim.contract.releases import SimulatedName

DtypeName = Literal["float64", "float32", "float16", "bfloat16", "native"]
DeviceName = Literal["cpu", "cuda", "hpu", "npu", SimulatedName]

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

OutputClaimName = Literal[
    "parity",
    "within_ulps",
    "nonfinite",
    "equal",
    "finite",
    "allclose",
    "psnr",
    "ssim",
    "same_distribution",
    "loss_curve",
]
CounterClaimName = Literal["at_most", "at_least", "equal", "less_than", "independent_of"]
ClaimName = OutputClaimName | CounterClaimName | Literal["ratio"]
Subject = Literal["outputs", "counters", "throughput"]

FACTOR = 2.0
FLOOR_ULPS = 4.0
NOISE_FACTOR = 4.0
"""parity and loss_curve allow this many times the output's own noise, where that is more."""
NOISE_SHARE = 0.01
"""The largest share of an output's range that noise may take; above it bounds prove nothing."""

Positive = Annotated[float, Meta(gt=0, description="a number above 0")]
NotNegative = Annotated[float, Meta(ge=0, description="a number of at least 0")]
AtLeastOne = Annotated[float, Meta(ge=1, description="a number of at least 1")]
Fraction = Annotated[float, Meta(gt=0, lt=1, description="a number between 0 and 1")]
Reason = Annotated[str, Meta(min_length=1, description="a sentence that says why")]
Pattern = Annotated[str, Meta(min_length=1, description="a shell-style pattern of names")]


class Parity(Model, frozen=True):
    """At most ``factor`` times level 0's error in the same dtype, plus ``ulps`` ulps."""

    factor: AtLeastOne = FACTOR
    ulps: NotNegative = FLOOR_ULPS
    reason: str = ""


class WithinUlps(Model, frozen=True):
    """Every element within ``ulps`` ulps of the rounded reference."""

    ulps: Positive
    reason: Reason


class Nonfinite(Model, frozen=True):
    """The output overflows here, though the reference does not."""

    reason: Reason


class Equal(Model, frozen=True):
    """Bit for bit what level 0 gives in the same dtype."""

    reason: str = ""


class Finite(Model, frozen=True):
    """No infinity and no NaN."""

    reason: str = ""


class Allclose(Model, frozen=True):
    """Every element within ``atol + rtol * |reference|``."""

    reason: Reason
    rtol: NotNegative = 0.0
    atol: NotNegative = 0.0


class Psnr(Model, frozen=True):
    """Peak signal-to-noise ratio of at least ``at_least`` dB; ``peak`` is 255 for uint8."""

    at_least: Positive
    reason: Reason
    peak: Positive | None = None


class Ssim(Model, frozen=True):
    """Mean structural similarity of at least ``at_least``; ``peak`` is 255 for uint8."""

    at_least: Annotated[float, Meta(gt=0, le=1, description="a number above 0, at most 1")]
    reason: Reason
    peak: Positive | None = None


class SameDistribution(Model, frozen=True):
    """Two-sample Kolmogorov-Smirnov test: the p-value is at least ``p``."""

    p: Fraction
    reason: Reason


class LossCurve(Parity, frozen=True):
    """A series over training steps, held to parity step by step."""


class Against(Model, frozen=True):
    """The run to compare with: this one, with another level, device or varied values."""

    level: LevelName | None = None
    device: DeviceName | None = None
    where: dict[str, Any] = field(default_factory=dict)


class LessThan(Against, frozen=True):
    """``factor`` times fewer than at another level, on another device or with other values."""

    factor: AtLeastOne = 1.0


class Ratio(Model, frozen=True):
    """Rate here over the rate at another level, at least ``at_least`` with ``confidence``."""

    level: LevelName
    at_least: Positive = 1.0
    confidence: Fraction = 0.95


OutputKind = (
    Parity
    | WithinUlps
    | Nonfinite
    | Equal
    | Finite
    | Allclose
    | Psnr
    | Ssim
    | SameDistribution
    | LossCurve
)

OUTPUT_KINDS: tuple[OutputClaimName, ...] = get_args(OutputClaimName)
COUNTER_KINDS: tuple[CounterClaimName, ...] = get_args(CounterClaimName)
KINDS: tuple[ClaimName, ...] = tuple(dict.fromkeys((*OUTPUT_KINDS, *COUNTER_KINDS, "ratio")))
SUBJECTS: tuple[Subject, ...] = get_args(Subject)
KINDS_OF: dict[Subject, tuple[ClaimName, ...]] = {
    "outputs": OUTPUT_KINDS,
    "counters": COUNTER_KINDS,
    "throughput": ("ratio",),
}
NEED_ALLOWANCE: tuple[ClaimName, ...] = ("parity", "loss_curve")
"""Kinds whose allowance is level 0's own error, whatever run they compare with."""
WITH_TOLERANCE = (*NEED_ALLOWANCE, "within_ulps", "allclose", "psnr", "ssim")
"""Kinds that excuse rounding: whether their bound is sound depends on the output's own noise."""


class Claim(Model, frozen=True, dict=True):
    """What outputs, counters or a throughput must be, at some levels, on some devices."""

    # What follows from the fields is worked out once: planning asks it for every run.

    outputs: Pattern | None = None
    counters: Pattern | None = None
    throughput: Pattern | None = None
    levels: LevelSelection = "all"
    devices: tuple[DeviceName, ...] | None = None
    dtypes: tuple[DtypeName, ...] | None = None
    where: dict[str, Values] = field(default_factory=dict)
    contract: (
        Annotated[
            bool,
            Meta(
                description="whether any port of the upstream must keep the claim. Default: outputs"
                " at the recipe's highest level, and counters without `levels`, unless compared"
                " with another level than upstream"
            ),
        ]
        | None
    ) = None
    against: Against | None = None
    parity: Parity | None = None
    within_ulps: WithinUlps | None = None
    nonfinite: Nonfinite | None = None
    equal: Equal | NotNegative | None = None
    finite: Finite | None = None
    allclose: Allclose | None = None
    psnr: Psnr | None = None
    ssim: Ssim | None = None
    same_distribution: SameDistribution | None = None
    loss_curve: LossCurve | None = None
    at_most: NotNegative | None = None
    at_least: NotNegative | None = None
    less_than: LessThan | None = None
    independent_of: Annotated[str, Meta(min_length=1, description="a name in `vary`")] | None = None
    ratio: Ratio | None = None

    @property
    def subjects(self) -> list[Subject]:
        """The subjects that the file names; loading a recipe checks that it is exactly one."""
        return [name for name in SUBJECTS if getattr(self, name) is not None]

    @cached_property
    def subject(self) -> Subject:
        return self.subjects[0]

    @property
    def pattern(self) -> str:
        """The pattern of the names that the claim is about."""
        pattern: str = getattr(self, self.subject)
        return pattern

    @property
    def given(self) -> list[ClaimName]:
        """The kinds of claim that the file names; loading checks that it is exactly one."""
        return [name for name in KINDS if getattr(self, name) is not None]

    @cached_property
    def kind_name(self) -> ClaimName:
        return self.given[0]

    @property
    def kind(self) -> OutputKind:
        """The one kind of a claim on outputs."""
        kind: OutputKind = getattr(self, self.kind_name)
        return kind

    @cached_property
    def needs_reference(self) -> bool:
        """Whether the claim cannot be judged without the reference and level 0's own run."""
        if self.subject != "outputs" or self.kind_name == "finite":
            return False
        return self.against is None or self.kind_name in NEED_ALLOWANCE

    @cached_property
    def has_tolerance(self) -> bool:
        """Whether the claim excuses rounding: its outputs' noise is then measured."""
        return self.subject == "outputs" and self.kind_name in WITH_TOLERANCE

    @cached_property
    def where_texts(self) -> dict[str, frozenset[str]]:
        """``where`` with its values as variants hold them."""
        return {name: frozenset(map(as_text, several)) for name, several in self.where.items()}

    def names(self, name: str) -> bool:
        """Whether the claim's pattern matches the name."""
        return fnmatchcase(name, self.pattern)


def as_text(value: Any) -> str:
    """Return a varied value as JSON, the form in which variants are compared and stored."""
    return json.dumps(value, sort_keys=True)
