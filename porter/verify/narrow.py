"""The command that goes on from a bad verdict: a failing comparison begins a search."""

from __future__ import annotations

import shlex

from porter.verify.recipe_model import UPSTREAM
from porter.verify.result import Verdict


def narrowing(port: str, recipe: str, verdict: Verdict) -> str:
    """Return the command that narrows a bad verdict down; "" where there is none.

    An output of a level above 0 that fails is compared module by module with upstream's; a counter
    or a run that fails is looked for in the series. A recipe that proves nothing, and level 0
    itself, have nothing to compare with.
    """
    if not verdict.bad or verdict.level == 0:
        return ""
    where = f"--recipe {recipe} --device {verdict.device}"
    if verdict.word == "fail" and verdict.subject == "outputs":
        exactly = f"--dtype {verdict.dtype}"
        if verdict.seed:
            exactly += f" --seed {verdict.seed}"
        exactly += "".join(
            f" --where {shlex.quote(f'{name}={text}')}" for name, text in verdict.variant
        )
        return f"porter compare {port} {UPSTREAM} {verdict.level_name} {where} {exactly}"
    if verdict.word == "fail" or not verdict.output:
        return f"porter bisect {port} {where} --level {verdict.level_name}"
    return ""
