"""Which claims of a recipe are the contract: what any port of the upstream must keep.

The others are ours: they describe the port's own patches, such as exact numbers of graphs, or what
one level holds and the next does not. ``contract`` in a claim says which it is, and ``contract:
false`` in a recipe that none without the key is; ``ours: REASON`` that none is, and why. Otherwise
a claim without it is contract

- on outputs, if it covers the highest level that the recipe runs (levels that are off do not count)
  and is not ``nonfinite``, which records an overflow;
- on counters, if it has no ``levels``;

and in neither case if it compares with another level than upstream. A throughput never is.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from porter.verify.recipe.claims import Claim
from porter.verify.recipe.load import LoadedRecipe

Target = int | str | None


def with_contract(
    loaded: LoadedRecipe,
    claim_levels: Sequence[frozenset[int]],
    targets: Sequence[Target],
    last: int,
) -> LoadedRecipe:
    """Return the recipe with ``contract`` set in every claim.

    ``claim_levels`` and ``targets`` are, for each claim, the levels that it covers and the level
    that it compares with; ``last`` is the highest level that the recipe runs. Raises BadInput for a
    claim whose key says contract and which cannot be.
    """
    claims = []
    rows = zip(loaded.recipe.claims, claim_levels, targets, strict=True)
    for index, (claim, levels, target) in enumerate(rows):
        if claim.contract:
            to_own_level = isinstance(target, int) and target > 0
            _check(loaded, index, to_own_level, is_on_last=last in levels)
        is_contract = claim.contract
        if is_contract is None:
            is_contract = (
                loaded.recipe.contract
                and loaded.recipe.ours is None
                and target in (None, 0)
                and _by_default(claim, is_on_last=last in levels)
            )
        claims.append(msgspec.structs.replace(claim, contract=is_contract))
    return loaded.with_claims(tuple(claims))


def _by_default(claim: Claim, *, is_on_last: bool) -> bool:
    if claim.subject == "outputs":
        return is_on_last and claim.kind_name != "nonfinite"
    return claim.subject == "counters" and claim.levels == "all"


def _check(loaded: LoadedRecipe, index: int, to_own_level: bool, *, is_on_last: bool) -> None:
    if loaded.recipe.ours is not None:
        expected, found = (
            "false",
            "true in a recipe that says `ours`: none of its claims is contract",
        )
    elif to_own_level:
        expected, found = "false", "true in a claim that compares with a level of the port"
    elif not is_on_last:
        expected = "a claim that covers the highest level that the recipe runs, or false"
        found = "true in one that does not: the port's end would not be held to it"
    else:
        return
    raise loaded.document.error(("claims", index, "contract"), expected, found, words=True)
