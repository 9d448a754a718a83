"""What known wrong versions of a port measure, beside the bounds that are to catch them.

``porter mutate PORT --by-claim --record`` measures it with mutants and writes it, claim by claim,
to ``recipes/PORT/mutants/measured.json``, which is committed; ``porter verify`` and reports read
it. A claim is found again by :func:`porter.verify.recipe.claim_key.claim_key`: its values stay
while its figure changes, and go when what it measures does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from porter.atomic import read_json, write_atomic
from porter.errors import BadInput
from porter.places import recipes_dir
from porter.verify.judge.result import (
    KnownWrong,
    RecipeResult,
    Verdict,
    known_wrong_from_json,
    known_wrong_to_json,
)
from porter.verify.recipe.claim_key import claim_key
from porter.verify.recipe.load import find_recipes

FILE = Path("mutants") / "measured.json"
VERSION = 1

OfClaims = Mapping[tuple[str, str], KnownWrong]
"""Key of a claim, and measure -> what it measured on known wrong trees. Parity has two measures."""
Measured = Mapping[str, OfClaims]
"""recipe -> what its claims measured."""


def read_measured(root: Path, port: str) -> Measured:
    """Return what a port's claims measured; empty without the file. Raises BadInput for another."""
    path = recipes_dir(root, port) / FILE
    try:
        found = read_json(path)
        if found["version"] != VERSION:
            raise ValueError(f"version {found['version']}")
        return {
            recipe: {(row["claim"], row["measure"]): known_wrong_from_json(row) for row in rows}
            for recipe, rows in found["recipes"].items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path}: expected what `porter mutate {port} --by-claim --record` writes, found"
            f" {error}; restore it, or measure again"
        ) from error


def write_measured(root: Path, port: str, measured: Measured) -> Path:
    """Write what the claims of some recipes measured; keep that of the others that still exist.

    Returns the file's path. Raises BadInput for a file of another form.
    """
    path = recipes_dir(root, port) / FILE
    whole = {**read_measured(root, port), **measured}
    rows: dict[str, list[dict[str, object]]] = {}
    for loaded in find_recipes(recipes_dir(root, port)):
        found = whole.get(loaded.name, {})
        keys = dict.fromkeys(claim_key(claim) for claim in loaded.recipe.claims)
        there = [(key, known) for key in keys for (own, _), known in found.items() if own == key]
        if there:
            rows[loaded.name] = [{"claim": k} | known_wrong_to_json(known) for k, known in there]
    path.parent.mkdir(exist_ok=True)
    text = json.dumps({"version": VERSION, "recipes": rows}, indent=1) + "\n"
    write_atomic(path, text.encode())
    return path


def known_wrong(values: Iterable[float], measure: str, *, lower: bool) -> KnownWrong | None:
    """Return the range of what a claim measured on wrong trees; None for no values.

    ``lower``: a greater value is a better one.
    """
    found = sorted((v for v in values), key=lambda v: (math.isnan(v), -v if lower else v))
    return KnownWrong(measure, found[0], found[-1], len(found)) if found else None


def with_known_wrong(result: RecipeResult, measured: Measured) -> RecipeResult:
    """Return a result whose verdicts hold what known wrong trees measure by the same claim."""
    verdicts = verdicts_with_known_wrong(result.verdicts, measured.get(result.recipe, {}))
    return replace(result, verdicts=tuple(verdicts))


def verdicts_with_known_wrong(verdicts: Iterable[Verdict], of_claims: OfClaims) -> list[Verdict]:
    """Return verdicts of one recipe with what known wrong trees measure by the same claims."""
    return [
        replace(verdict, known_wrong=found)
        if (found := of_claims.get((verdict.claim_key, verdict.measure)))
        else verdict
        for verdict in verdicts
    ]
