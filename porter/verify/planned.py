"""A recipe to run, with its levels resolved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from porter.verify.claims import Claim
from porter.verify.recipe import LoadedRecipe
from porter.verify.trees import LevelTree

Target = int | Literal["previous"] | None


@dataclass(frozen=True)
class Planned:
    """One recipe to run: every level of its port, those to judge, and where each claim applies.

    ``claim_targets`` holds, for each claim, the level it compares with (a number, PREVIOUS, or None
    for the judged level itself); ``devices`` those of the recipe that were asked
    for, ``insisted`` those asked for by name: a real one that is not there is then no excuse.
    """

    loaded: LoadedRecipe
    levels: tuple[LevelTree, ...]
    chosen: frozenset[int]
    claim_levels: tuple[frozenset[int], ...]
    companions: tuple[tuple[str, LevelTree], ...]
    claim_targets: tuple[Target, ...]
    devices: tuple[str, ...]
    insisted: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The recipe's name with its port: ``port/recipe``."""
        return f"{self.loaded.port}/{self.loaded.name}"

    def index(self, claim: Claim) -> int:
        """Return the claim's place in the recipe."""
        return self.loaded.recipe.claims.index(claim)

    def target_level(self, claim: Claim, level: int) -> int:
        """Return the level that a claim on ``level`` compares with."""
        target = self.claim_targets[self.index(claim)]
        if isinstance(target, int):
            return target
        return level if target is None else level - 1
