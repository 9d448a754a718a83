"""Recipes: which probe, on which levels and dtypes, with which claims.

One YAML file a recipe, ``recipes/<port>/<name>.yaml``::

    version: 1
    title: cc12m_1, narrow, forward pass    # one line, the heading of the results
    probe: forward.py                       # beside the recipe; may import its neighbours
    environment: ../environments/v-diffusion.txt  # porter.verify.environment; none: torch alone
    source_roots: [src]                     # folders of the tree on sys.path; default ["."]
    companions:                             # other ports' trees on sys.path, after this one's
      accelerate: upstream                  # which level: a name or number, or `last`
    needs: [src/diffusers/]                 # what of the tree must be there; default: all of it.
                                            # A partial source that lacks some: not reachable.
    parameters: {size: 64}                  # handed to the probe as they stand
    seeds: [0]                              # default [0]; every seed is run and judged
    levels: all                             # all | [names or numbers] | {from: NAME, to: NAME}
    dtypes: [float32, float16]              # of float64, float32 (default), float16, bfloat16
    claims:                                 # every output needs one at every level and dtype
      - outputs: "image*"                   # shell-style pattern on the recorded names
        parity: {}                          # decision 6, see below
      - outputs: scores
        levels: {from: fp32-bmm}            # as above; default: every level the recipe runs
        dtypes: [float16]                   # default: every dtype the recipe runs
        within_ulps: {ulps: 8, reason: "level 0 overflows here, so it gives no allowance"}
      - outputs: scores
        levels: [upstream]
        dtypes: [float16]
        nonfinite: {reason: "shows that the input overflows upstream's form"}
    limits: {seconds: 120, memory_gib: 4}   # of one run; these are the defaults
    threads: 1                              # of torch, OpenMP and MKL; default 1
    tags: [quick]                           # default none; `porter verify --tag`

Level 0 is called ``upstream``. The reference is always level 0 in float64, once per seed, and level
0 is also run in every dtype, whatever ``levels`` says: that run is the allowance.

Kinds of claim (exactly one each; :mod:`porter.verify.compare` defines the measures):

``parity: {factor: 2, ulps: 4, reason: ...}``
    The error against the reference is at most ``factor`` times level 0's own error in the same
    dtype plus ``ulps`` ulps at the output's scale, both as the greatest and as the root mean square
    error. Another factor or floor than the default needs a ``reason``. Integer and boolean outputs
    must be equal. The error of level 0 must be finite: where upstream overflows, use
    ``within_ulps``.
``within_ulps: {ulps: N, reason: ...}``
    Every element is within N ulps (of the dtype that was recorded) of the reference, rounded to
    that dtype. An ulp is never finer than at the output's root mean square, so that an element near
    zero is held to the precision of its neighbours. ``reason`` is required.
``nonfinite: {reason: ...}``
    The output holds an infinity or a NaN here, though the reference is finite: upstream's fault
    that a later level mends, recorded so that it cannot go stale.
``equal: {reason: ...}``
    Bit for bit what level 0 gives in the same dtype (NaN is never equal). ``reason`` is optional.

For one output, level and dtype every claim that matches is held; none matching, a claim that
matches nothing anywhere, an output that is constant, empty or missing, and a claim that could not
fail are errors of the recipe, and fail the verification in words.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import msgspec

DtypeName = Literal["float64", "float32", "float16", "bfloat16"]

FACTOR = 2.0
FLOOR_ULPS = 4.0


class _Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of everything in a recipe: immutable, and a misspelt key is an error."""


class LevelRange(_Model, frozen=True, rename={"first": "from", "last": "to"}):
    """Levels from ``from`` to ``to``, both included; either may be left out."""

    first: str | int | None = None
    last: str | int | None = None

    def __post_init__(self) -> None:
        if self.first is None and self.last is None:
            raise ValueError("expected `from`, `to` or both")


LevelSelection = Literal["all"] | LevelRange | tuple[str | int, ...]


class Parity(_Model, frozen=True):
    """At most ``factor`` times level 0's error in the same dtype, plus ``ulps`` ulps."""

    factor: float = FACTOR
    ulps: float = FLOOR_ULPS
    reason: str = ""

    def __post_init__(self) -> None:
        if self.factor < 1 or self.ulps < 0:
            raise ValueError("expected factor >= 1 and ulps >= 0")
        if (self.factor, self.ulps) != (FACTOR, FLOOR_ULPS) and not self.reason.strip():
            raise ValueError(
                f"another factor than {FACTOR:g} or another floor than {FLOOR_ULPS:g} ulps needs a "
                "`reason`"
            )


class WithinUlps(_Model, frozen=True):
    """Every element within ``ulps`` ulps of the rounded reference."""

    ulps: float
    reason: str

    def __post_init__(self) -> None:
        if self.ulps <= 0:
            raise ValueError("expected ulps > 0")
        if not self.reason.strip():
            raise ValueError("expected a sentence in `reason`, found nothing")


class Nonfinite(_Model, frozen=True):
    """The output overflows here, though the reference does not."""

    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("expected a sentence in `reason`, found nothing")


class Equal(_Model, frozen=True):
    """Bit for bit what level 0 gives in the same dtype."""

    reason: str = ""


ClaimKind = Parity | WithinUlps | Nonfinite | Equal
_KINDS = ("parity", "within_ulps", "nonfinite", "equal")


class Claim(_Model, frozen=True):
    """What some outputs must be, at some levels, in some dtypes."""

    outputs: str
    levels: LevelSelection = "all"
    dtypes: tuple[DtypeName, ...] | None = None
    parity: Parity | None = None
    within_ulps: WithinUlps | None = None
    nonfinite: Nonfinite | None = None
    equal: Equal | None = None

    def __post_init__(self) -> None:
        given = [name for name in _KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"expected exactly one of {', '.join(_KINDS)}; found {found}")

    @property
    def kind(self) -> ClaimKind:
        """The one kind of claim this is."""
        for name in _KINDS:
            value: ClaimKind | None = getattr(self, name)
            if value is not None:
                return value
        raise AssertionError("checked in __post_init__")

    @property
    def kind_name(self) -> str:
        """The kind's key in the recipe."""
        return next(name for name in _KINDS if getattr(self, name) is not None)

    def covers(self, output: str, dtype: str) -> bool:
        """Whether the claim speaks of this output in this dtype."""
        return fnmatchcase(output, self.outputs) and (self.dtypes is None or dtype in self.dtypes)


class Limits(_Model, frozen=True):
    """What one run of the probe may use."""

    seconds: float = 120.0
    memory_gib: float = 4.0

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.memory_gib <= 0:
            raise ValueError("expected seconds > 0 and memory_gib > 0")


class Recipe(_Model, frozen=True):
    """One recipe file. See the module's text for every key."""

    version: Literal[1]
    title: str
    probe: str
    claims: tuple[Claim, ...]
    environment: str | None = None
    source_roots: tuple[str, ...] = (".",)
    companions: dict[str, str | int] = {}
    needs: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}
    seeds: tuple[int, ...] = (0,)
    levels: LevelSelection = "all"
    dtypes: tuple[DtypeName, ...] = ("float32",)
    limits: Limits = Limits()
    threads: int = 1
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("claims", "seeds", "dtypes", "source_roots"):
            values = getattr(self, name)
            if not values:
                raise ValueError(f"`{name}`: expected at least one, found none")
            if name != "claims" and len(set(values)) != len(values):
                raise ValueError(f"`{name}`: expected each once, found a duplicate")
        if self.threads < 1:
            raise ValueError("`threads`: expected 1 or more")
        for folder in self.source_roots:
            if Path(folder).is_absolute() or ".." in Path(folder).parts:
                raise ValueError(f"`source_roots`: expected a folder of the tree, found {folder!r}")
