"""Name a claim by what it measures, so that a changed figure or reason leaves the name as it is."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from porter.verify.recipe.claims import Claim

SINGLE: Final = {
    "psnr": "at_least",
    "ssim": "at_least",
    "within_ulps": "ulps",
    "same_distribution": "p",
    "at_most": None,
    "at_least": None,
}
"""Kinds that compare one measured value with one figure, so that what they measure does not depend
on it -> the figure's key (None: the claim's own value)."""


def claim_form(claim: Claim) -> dict[str, Any]:
    """Return the claim as data, without what does not change values: reasons, single figures, and
    whether it is contract."""
    data: dict[str, Any] = msgspec.to_builtins(claim)
    data.pop("contract")
    kind = data[claim.kind_name]
    if not isinstance(kind, dict):
        if claim.kind_name in SINGLE:
            data[claim.kind_name] = True
        return data
    kind.pop("reason", None)
    if key := SINGLE.get(claim.kind_name):
        kind.pop(key)
    return data


def claim_key(claim: Claim) -> str:
    """Return 12 hexadecimal digits that name the claim within its recipe."""
    text = msgspec.json.encode(claim_form(claim), order="sorted")
    return hashlib.sha256(text).hexdigest()[:12]
