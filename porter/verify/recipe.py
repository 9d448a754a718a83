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
        parity: {}                          # see below
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
fail are errors of the recipe, and fail the verification in words. A probe may record an output in
some dtypes only: it is missing where level 0 records it in the same dtype, or where a claim names
the dtype.
"""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from porter.errors import BadInput
from porter.yamlfile import Document, load

DtypeName = Literal["float64", "float32", "float16", "bfloat16"]
ClaimName = Literal["parity", "within_ulps", "nonfinite", "equal"]

FACTOR = 2.0
FLOOR_ULPS = 4.0
UPSTREAM = "upstream"

Positive = Annotated[float, Meta(gt=0, description="a number above 0")]
Reason = Annotated[str, Meta(min_length=1, description="a sentence that says why")]
FileText = Annotated[str, Meta(min_length=1, description="a file name beside the recipe")]
LevelText = str | int


class _Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of everything in a recipe: immutable, and a misspelt key is an error."""


class LevelRange(_Model, frozen=True, rename={"first": "from", "last": "to"}):
    """Levels from ``from`` to ``to``, both included; either may be left out."""

    first: LevelText | None = None
    last: LevelText | None = None


LevelSelection = Literal["all"] | LevelRange | tuple[LevelText, ...]


class Parity(_Model, frozen=True):
    """At most ``factor`` times level 0's error in the same dtype, plus ``ulps`` ulps."""

    factor: Annotated[float, Meta(ge=1, description="a number of at least 1")] = FACTOR
    ulps: Annotated[float, Meta(ge=0, description="a number of at least 0")] = FLOOR_ULPS
    reason: str = ""


class WithinUlps(_Model, frozen=True):
    """Every element within ``ulps`` ulps of the rounded reference."""

    ulps: Positive
    reason: Reason


class Nonfinite(_Model, frozen=True):
    """The output overflows here, though the reference does not."""

    reason: Reason


class Equal(_Model, frozen=True):
    """Bit for bit what level 0 gives in the same dtype."""

    reason: str = ""


ClaimKind = Parity | WithinUlps | Nonfinite | Equal
KINDS: tuple[ClaimName, ...] = ("parity", "within_ulps", "nonfinite", "equal")


class Claim(_Model, frozen=True):
    """What some outputs must be, at some levels, in some dtypes."""

    outputs: Annotated[str, Meta(min_length=1, description="a pattern of output names")]
    levels: LevelSelection = "all"
    dtypes: tuple[DtypeName, ...] | None = None
    parity: Parity | None = None
    within_ulps: WithinUlps | None = None
    nonfinite: Nonfinite | None = None
    equal: Equal | None = None

    @property
    def given(self) -> list[ClaimName]:
        """The kinds of claim that stand in the file; :func:`load_recipe` sees that it is one."""
        return [name for name in KINDS if getattr(self, name) is not None]

    @property
    def kind(self) -> ClaimKind:
        """The one kind of claim this is."""
        kind: ClaimKind = getattr(self, self.given[0])
        return kind

    def names(self, output: str) -> bool:
        """Whether the claim's pattern matches the output."""
        return fnmatchcase(output, self.outputs)


class Limits(_Model, frozen=True):
    """What one run of the probe may use."""

    seconds: Positive = 120.0
    memory_gib: Positive = 4.0


class Recipe(_Model, frozen=True):
    """One recipe file. See the module's text for every key."""

    version: Annotated[int, Meta(ge=1, le=1, description="1 (the format's version)")]
    title: Annotated[str, Meta(min_length=1, description="a title of one line")]
    probe: FileText
    claims: tuple[Claim, ...]
    environment: FileText | None = None
    source_roots: tuple[str, ...] = (".",)
    companions: dict[str, LevelText] = {}
    needs: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}
    seeds: tuple[
        Annotated[int, Meta(ge=0, le=2**53, description="a whole number, 0 or more")], ...
    ] = (0,)
    levels: LevelSelection = "all"
    dtypes: tuple[DtypeName, ...] = ("float32",)
    limits: Limits = Limits()
    threads: Annotated[int, Meta(ge=1, le=1024, description="a whole number, 1 or more")] = 1
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe with the file it came from. ``sha256`` is of that file's bytes."""

    name: str
    port: str
    document: Document[Recipe]
    sha256: str

    @property
    def path(self) -> Path:
        return self.document.path

    @property
    def recipe(self) -> Recipe:
        return self.document.value

    @property
    def probe(self) -> Path:
        return self.path.parent / self.recipe.probe

    @property
    def environment(self) -> Path | None:
        """The requirements file, or None when the probe needs nothing beyond torch."""
        if self.recipe.environment is None:
            return None
        # Only the text is tidied: a link in the path is followed by the system, as it should be.
        return Path(os.path.normpath(self.path.parent / self.recipe.environment))

    def inputs_sha256(self) -> str:
        """Return the hash of what of the recipe reaches the probe (claims and texts do not)."""
        recipe = self.recipe
        reaching = [recipe.parameters, recipe.source_roots, recipe.threads]
        return hashlib.sha256(msgspec.json.encode(reaching, order="sorted")).hexdigest()


def load_recipe(path: Path) -> LoadedRecipe:
    """Read a recipe file of a port's folder.

    Raises BadInput, in one line with file, line and key, for whatever is wrong with it.
    """
    document = load(path, Recipe)
    recipe = document.value
    for name in ("claims", "seeds", "dtypes", "source_roots"):
        _several(document, name, getattr(recipe, name))
    for index, claim in enumerate(recipe.claims):
        _check_claim(document, index, claim)
    _check_levels(document, ("levels",), recipe.levels)
    for index, folder in enumerate(recipe.source_roots):
        if Path(folder).is_absolute() or ".." in Path(folder).parts:
            raise document.error(("source_roots", index), "a folder of the tree", folder)
    if Path(recipe.probe).name != recipe.probe or not (path.parent / recipe.probe).is_file():
        raise document.error(("probe",), "a file beside the recipe", recipe.probe)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return LoadedRecipe(path.stem, path.parent.name, document, sha256)


def find_recipes(folder: Path) -> list[LoadedRecipe]:
    """Return the recipes of a port's folder, by name; none when there is no folder."""
    return [load_recipe(path) for path in sorted(folder.glob("*.yaml"))]


def wrong(
    document: Document[Recipe], key: Sequence[str | int], expected: str, found: str
) -> BadInput:
    """Return the one-line error for ``key``, with what was found in words of one's own."""
    dotted = "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in key).lstrip(".")
    where = f"{document.path}:{document.line(key)}: {dotted}"
    return BadInput(f"{where}: expected {expected}, found {found}")


def _several(document: Document[Recipe], name: str, values: Sequence[object]) -> None:
    if not values:
        raise wrong(document, (name,), "at least one", "none")
    if name == "claims":
        return
    for index, value in enumerate(values):
        if value in values[:index]:
            raise document.error((name, index), "each once", value)


def _check_claim(document: Document[Recipe], index: int, claim: Claim) -> None:
    key = ("claims", index)
    if len(claim.given) != 1:
        found = " and ".join(claim.given) or "none"
        raise wrong(document, key, f"exactly one of {', '.join(KINDS)}", found)
    kind = claim.kind
    if isinstance(kind, Parity) and not kind.reason.strip():
        for name, usual in (("factor", FACTOR), ("ulps", FLOOR_ULPS)):
            value = getattr(kind, name)
            if value != usual:
                expected = f"{usual:g}, or a `reason` beside it"
                raise document.error((*key, "parity", name), expected, value)
    if isinstance(kind, Nonfinite | WithinUlps) and not kind.reason.strip():
        at: tuple[str | int, ...] = (*key, claim.given[0], "reason")
        raise document.error(at, "a sentence that says why", kind.reason)
    _check_levels(document, (*key, "levels"), claim.levels)
    run = document.value.dtypes
    for number, dtype in enumerate(claim.dtypes or ()):
        if dtype not in run:
            expected = f"a dtype that the recipe runs ({', '.join(run)})"
            raise document.error((*key, "dtypes", number), expected, dtype)
    if claim.dtypes == ():
        raise wrong(document, (*key, "dtypes"), "at least one", "none")


def _check_levels(
    document: Document[Recipe], key: tuple[str | int, ...], selection: LevelSelection
) -> None:
    if isinstance(selection, LevelRange) and selection.first is None and selection.last is None:
        raise wrong(document, key, "`from`, `to` or both", "neither")
    if selection == ():
        raise wrong(document, key, "at least one level", "none")
