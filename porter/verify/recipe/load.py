"""Load and check recipes: which probe runs, on which levels, devices and dtypes, with which claims.

Each is a YAML file, ``recipes/<port>/<name>.yaml``; ``docs/recipes.md`` explains every key, and
every kind of claim with its formula. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import msgspec

from porter.upstream.needs import Needs, wrong_entry
from porter.verify.recipe.claims import (
    FACTOR,
    FLOOR_ULPS,
    KINDS_OF,
    SUBJECTS,
    Against,
    Claim,
    DeviceName,
    LessThan,
    LevelRange,
    LevelSelection,
    as_text,
)
from porter.verify.recipe.schema import NATIVE, Recipe
from porter.yamlfile import Document, load

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe and its file. ``sha256`` is the hash of the file's bytes; ``threads``, where the
    user asked for a number, replaces the recipe's own."""

    name: str
    port: str
    document: Document[Recipe]
    sha256: str
    threads: int | None = None

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
        # Not Path.resolve(): links in the path are left to the system.
        return Path(os.path.normpath(self.path.parent / self.recipe.environment))

    def with_threads(self, threads: int | None) -> LoadedRecipe:
        """Return the recipe with ``threads`` threads in every run (None: unchanged)."""
        if threads is None:
            return self
        changed = msgspec.structs.replace(self.recipe, threads=threads)
        return replace(self, document=replace(self.document, value=changed), threads=threads)

    def with_claims(self, claims: tuple[Claim, ...]) -> LoadedRecipe:
        """Return the recipe with other claims."""
        changed = msgspec.structs.replace(self.recipe, claims=claims)
        return replace(self, document=replace(self.document, value=changed))

    def inputs_sha256(self) -> str:
        """Return the hash of the keys that reach the probe (claims and texts do not)."""
        recipe = self.recipe
        needs = Needs(recipe.needs).key()
        inputs = [recipe.parameters, recipe.source_roots, recipe.threads, needs]
        return hashlib.sha256(msgspec.json.encode(inputs, order="sorted")).hexdigest()


def load_recipe(path: Path) -> LoadedRecipe:
    """Read a recipe file of a port's folder.

    Raises BadInput, one line with file, line and key, for the first error in it.
    """
    document = load(path, Recipe)
    check_recipe(document)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return LoadedRecipe(path.stem, path.parent.name, document, sha256)


def find_recipes(folder: Path) -> list[LoadedRecipe]:
    """Return the recipes of a port's folder, by name; none if there is no folder."""
    return [load_recipe(path) for path in sorted(folder.glob("*.yaml"))]


def check_recipe(document: Document[Recipe], probe: bool = True) -> None:
    """Check a recipe. Raises BadInput for the first broken rule.

    With ``probe=False`` the probe file may be absent: nothing will run.
    """
    recipe = document.value
    for name in ("claims", "seeds", "dtypes", "source_roots", "devices"):
        _several(document, (name,), getattr(recipe, name), once=name != "claims")
    _check_variation(document)
    _check_environ(document)
    if NATIVE in recipe.dtypes and len(recipe.dtypes) > 1:
        raise document.error(("dtypes",), f"[{NATIVE}] alone", list(recipe.dtypes), words=True)
    for index, claim in enumerate(recipe.claims):
        _check_claim(document, ("claims", index), claim)
    _check_levels(document, ("levels",), recipe.levels)
    for index, folder in enumerate(recipe.source_roots):
        if Path(folder).is_absolute() or ".." in Path(folder).parts:
            raise document.error(("source_roots", index), "a folder of the tree", folder)
    for index, entry in enumerate(recipe.needs):
        if wrong := wrong_entry(entry):
            expected = "a folder ('src/'), a file or a pattern ('src/**/*.py') of the tree"
            raise document.error(("needs", index), expected, f"{wrong}: {entry!r}", words=True)
    there = not probe or (document.path.parent / recipe.probe).is_file()
    if Path(recipe.probe).name != recipe.probe or not there:
        raise document.error(("probe",), "a file beside the recipe", recipe.probe)


def _several(
    document: Document[Recipe], key: Key, values: Sequence[object], once: bool = True
) -> None:
    if not values:
        raise document.error(key, "at least one", "none", words=True)
    texts = [as_text(value) for value in values] if once else []
    for index, text in enumerate(texts):
        if text in texts[:index]:
            raise document.error((*key, index), "each once", values[index])


def _check_variation(document: Document[Recipe]) -> None:
    recipe = document.value
    for name, values in recipe.vary.items():
        _several(document, ("vary", name), values)
        if name in recipe.parameters:
            raise document.error(
                ("vary", name), "a name that is not in `parameters` too", name, words=True
            )


def _check_environ(document: Document[Recipe]) -> None:
    devices = get_args(DeviceName)
    for name, value in document.value.environ.items():
        if isinstance(value, str) == (name in devices):
            expected = "a mapping of variables" if name in devices else "text"
            found = "text" if name in devices else f"a mapping, and {name!r} is no device"
            raise document.error(("environ", name), expected, found, words=True)
        if name in devices and name not in (
            *document.value.devices,
            document.value.reference.device,
            document.value.baseline_device,
        ):
            raise document.error(("environ", name), "a device that the recipe runs on", name)


def _check_claim(document: Document[Recipe], key: Key, claim: Claim) -> None:
    if len(claim.subjects) != 1:
        found = " and ".join(claim.subjects) or "none"
        raise document.error(key, f"exactly one of {', '.join(SUBJECTS)}", found, words=True)
    kinds = KINDS_OF[claim.subject]
    if len(claim.given) != 1 or claim.given[0] not in kinds:
        found = " and ".join(claim.given) or "none"
        raise document.error(key, f"exactly one of {', '.join(kinds)}", found, words=True)
    _check_reason(document, key, claim)
    _check_levels(document, (*key, "levels"), claim.levels)
    recipe = document.value
    _subset(document, (*key, "dtypes"), claim.dtypes, recipe.dtypes, "a dtype")
    _subset(document, (*key, "devices"), claim.devices, recipe.devices, "a device")
    for name, values in claim.where.items():
        at = (*key, "where", name)
        _varied(document, at, name)
        _several(document, at, values)
        for index, value in enumerate(values):
            _one_of_varied(document, (*at, index), name, value)
    if claim.contract and (claim.subject == "throughput" or claim.kind_name == "nonfinite"):
        what = "throughput" if claim.subject == "throughput" else claim.kind_name
        raise document.error((*key, "contract"), "false", f"true beside {what}", words=True)
    _check_target(document, key, claim)
    if claim.subject == "outputs" and not isinstance(claim.equal, float | int):
        return
    if claim.subject == "outputs":
        raise document.error((*key, "equal"), "a mapping, as {}", claim.equal)
    if claim.equal is not None and not isinstance(claim.equal, float | int):
        raise document.error((*key, "equal"), "a number", "a mapping", words=True)
    if claim.at_least == 0:
        raise document.error(
            (*key, "at_least"), "a number above 0", "0, which cannot fail", words=True
        )
    if claim.independent_of is not None:
        _check_independence(document, key, claim, claim.independent_of)


def _check_reason(document: Document[Recipe], key: Key, claim: Claim) -> None:
    """Require a reason for changed defaults and for every bound that no reference gives."""
    name = claim.kind_name
    kind: Any = getattr(claim, name)
    if name in ("parity", "loss_curve") and not kind.reason.strip():
        for field, usual in (("factor", FACTOR), ("ulps", FLOOR_ULPS)):
            value = getattr(kind, field)
            if value != usual:
                expected = f"{usual:g}, or a `reason` beside it"
                raise document.error((*key, name, field), expected, value)
    if name in ("within_ulps", "nonfinite", "allclose", "psnr", "ssim", "same_distribution") and (
        not kind.reason.strip()
    ):
        raise document.error((*key, name, "reason"), "a sentence that says why", kind.reason)
    if name == "allclose" and kind.rtol >= 1:
        found = f"{kind.rtol:g}, which zeros would pass"
        raise document.error((*key, name, "rtol"), "less than 1", found, words=True)


def _check_target(document: Document[Recipe], key: Key, claim: Claim) -> None:
    """Check the other run that ``against`` or ``less_than`` names."""
    if claim.against is not None:
        if claim.subject != "outputs" or claim.kind_name in ("finite", "nonfinite"):
            raise document.error(
                (*key, "against"), "no such key here", f"it beside {claim.kind_name}", words=True
            )
        other: Against | LessThan = claim.against
        at: Key = (*key, "against")
    elif claim.less_than is not None:
        other, at = claim.less_than, (*key, "less_than")
    else:
        return
    if other.level is None and other.device is None and not other.where:
        raise document.error(at, "`level`, `device` or `where`", "none", words=True)
    for name, value in other.where.items():
        _varied(document, (*at, "where", name), name)
        _one_of_varied(document, (*at, "where", name), name, value)


def _check_independence(document: Document[Recipe], key: Key, claim: Claim, name: str) -> None:
    _varied(document, (*key, "independent_of"), name)
    values = claim.where.get(name, document.value.vary[name])
    if len(values) < 2:
        found = f"{len(values)}, which cannot fail"
        at = ("vary", name) if name not in claim.where else (*key, "where", name)
        raise document.error(at, f"two or more values of {name}", found, words=True)


def _varied(document: Document[Recipe], key: Key, name: str) -> None:
    if name not in document.value.vary:
        there = ", ".join(document.value.vary) or "nothing"
        raise document.error(key, f"a name in `vary` ({there})", name)


def _one_of_varied(document: Document[Recipe], key: Key, name: str, value: object) -> None:
    values = document.value.vary[name]
    if as_text(value) not in [as_text(each) for each in values]:
        there = ", ".join(as_text(each) for each in values)
        raise document.error(key, f"a value of {name} that the recipe runs ({there})", value)


def _subset(
    document: Document[Recipe], key: Key, chosen: Iterable[str] | None, of: Sequence[str], what: str
) -> None:
    if chosen is None:
        return
    if not chosen:
        raise document.error(key, "at least one", "none", words=True)
    for number, name in enumerate(chosen):
        if name not in of:
            expected = f"{what} that the recipe runs ({', '.join(of)})"
            raise document.error((*key, number), expected, name)


def _check_levels(document: Document[Recipe], key: Key, selection: LevelSelection) -> None:
    if isinstance(selection, LevelRange) and selection.first is None and selection.last is None:
        raise document.error(key, "`from`, `to` or both", "neither", words=True)
    if selection == ():
        raise document.error(key, "at least one level", "none", words=True)
