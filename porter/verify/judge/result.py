"""Verdicts and a recipe's result as plain data, and their one JSON form.

:func:`verdict_to_json` and :func:`result_to_json` write that form, :func:`verdict_from_json` and
:func:`result_from_json` read it: for ``porter verify --json`` and for the cache. Free of torch, so
that cached verdicts are read and shown without waiting for its import.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from porter.verify.recipe.schema import is_simulated

Word = Literal["pass", "baseline", "fail", "error", "skipped"]
"""``baseline``: a run compared with itself (level 0 with its own error), which cannot fail.
``fail``: a claim does not hold. ``error``: a run failed, or a claim is vacuous. ``skipped``: not
judged here, for instance a throughput on a simulated device."""


@dataclass(frozen=True)
class KnownWrong:
    """What a claim measures on known wrong versions of the port: the value nearest to the correct
    one, the one farthest from it, and of how many versions (``trees``)."""

    measure: str
    nearest: float
    farthest: float
    trees: int


@dataclass(frozen=True)
class Verdict:
    """One claim on one output, counter or throughput of one run; or, with none, the run itself.

    ``output`` is its name, ``subject`` what it is; ``variant`` the values of what the recipe varies
    (name, value as JSON). ``measure`` is what ``error`` and ``allowed`` count
    (:mod:`porter.verify.judge.compare`); ``allowed`` is the most that may be, or with ``lower`` the
    least; ``noise`` is what rounding alone moves, in the same measure
    (:mod:`porter.verify.judge.noise`; None: not measured). ``stderr`` is the end of a failed run's,
    ``frames`` the lines of the tree that it failed in (deepest first), ``narrow`` the command that
    goes on from here. ``contract``: whether any port of the upstream must keep the claim (None:
    there is none, or it is not known). ``claim_key`` names the claim
    (:mod:`porter.verify.recipe.claim_key`); ``known_wrong`` is added for show, after judging
    (:mod:`porter.verify.known_wrong`).
    """

    level: int
    level_name: str
    dtype: str
    seed: int
    output: str
    claim: str
    word: Word
    measure: str = ""
    error: float | None = None
    allowed: float | None = None
    detail: str = ""
    stderr: str = ""
    device: str = "cpu"
    variant: tuple[tuple[str, str], ...] = ()
    subject: str = "outputs"
    lower: bool = False
    narrow: str = ""
    noise: float | None = None
    frames: str = ""
    contract: bool | None = None
    claim_key: str = ""
    known_wrong: KnownWrong | None = None

    @property
    def bad(self) -> bool:
        return self.word in ("fail", "error")

    @property
    def share(self) -> float | None:
        """The used part of the allowance: 1 is the limit, None where the claim has no such number.

        With a least value allowed, the limit over the value.
        """
        if self.error is None or self.allowed is None:
            return None
        if math.isnan(self.error) or math.isnan(self.allowed):
            return math.inf
        over, under = (self.allowed, self.error) if self.lower else (self.error, self.allowed)
        if over == 0:
            return 0.0
        return over / under if under > 0 else math.inf

    @property
    def simulated(self) -> bool:
        """Whether the device is simulated; whatever shows the verdict must say so."""
        return is_simulated(self.device)


_ERROR_OF_PORTER = re.compile(
    r"\bporter(?:\.\w+)+\.(?:(?:ProbeError|ScriptFailed): |(?=[A-Z]\w*: ))"
)
_FOLDER_OF_TREE = re.compile(r"/[^\s'\"]*/trees/[0-9a-f]{40}-[0-9a-f]{16}/")


def cause_text(message: str) -> str:
    """Return what ended a run without porter's modules and the place of the cached tree: "model.py:
    exit code 1, expected 0: ValueError: ..."."""
    return _FOLDER_OF_TREE.sub("", _ERROR_OF_PORTER.sub("", message))


@dataclass(frozen=True)
class RecipeResult:
    """The verdicts on one recipe, and how many runs they rest on (``cached``: not made now).

    ``sandbox`` names the kinds of sandbox that these were made in; "" where no run left a trace.
    """

    port: str
    recipe: str
    title: str
    verdicts: tuple[Verdict, ...]
    runs: int
    seconds: float
    cached: int = 0
    warnings: tuple[str, ...] = ()
    sandbox: str = ""

    @property
    def judged(self) -> bool:
        """Whether anything was judged: all may be skipped where a device is missing."""
        return any(verdict.word != "skipped" for verdict in self.verdicts)

    @property
    def passed(self) -> bool:
        """Whether there are verdicts and none is bad."""
        return bool(self.verdicts) and not any(verdict.bad for verdict in self.verdicts)


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON shows it: empty texts are null, infinities and NaN are texts."""
    return {
        "level": verdict.level,
        "level_name": verdict.level_name,
        "device": verdict.device,
        "simulated": verdict.simulated,
        "dtype": verdict.dtype or None,
        "seed": verdict.seed,
        "variant": {name: json.loads(text) for name, text in verdict.variant},
        "subject": verdict.subject,
        "output": verdict.output or None,
        "claim": verdict.claim or None,
        "claim_key": verdict.claim_key or None,
        "contract": verdict.contract,
        "verdict": verdict.word,
        "measure": verdict.measure or None,
        "error": number_to_json(verdict.error),
        "allowed": number_to_json(verdict.allowed),
        "noise": number_to_json(verdict.noise),
        "known_wrong": known_wrong_to_json(verdict.known_wrong) if verdict.known_wrong else None,
        "bound": "least" if verdict.lower else "most",
        "detail": verdict.detail or None,
        "frames": verdict.frames.splitlines() or None,
        "stderr": verdict.stderr or None,
        "narrow": verdict.narrow or None,
    }


_TEXTS = ("level_name", "dtype", "output", "claim", "measure", "detail", "stderr", "narrow")


def verdict_from_json(row: Mapping[str, Any]) -> Verdict:
    """Return the verdict that :func:`verdict_to_json` wrote.

    Raises KeyError, TypeError, AttributeError or ValueError for anything else.
    """
    import msgspec

    # The same text that the recipe's reader makes of a varied value.
    variant = tuple((n, json.dumps(v, sort_keys=True)) for n, v in row["variant"].items())
    fields = {name: row[name] or "" for name in _TEXTS}
    fields |= {name: row[name] for name in ("level", "device", "seed", "subject")}
    fields |= {
        "variant": variant,
        "word": row["verdict"],
        "lower": row["bound"] == "least",
        "error": _number(row["error"]),
        "allowed": _number(row["allowed"]),
        # Files of earlier versions have none of these.
        "contract": row.get("contract"),
        "claim_key": row.get("claim_key") or "",
        "known_wrong": known_wrong_from_json(known) if (known := row.get("known_wrong")) else None,
        "noise": _number(row.get("noise")),
        "frames": "\n".join(row.get("frames") or ()),
    }
    return msgspec.convert(fields, Verdict)


def known_wrong_to_json(known: KnownWrong) -> dict[str, Any]:
    """Return what known wrong trees measure as JSON shows it."""
    return {
        "measure": known.measure,
        "nearest": number_to_json(known.nearest),
        "farthest": number_to_json(known.farthest),
        "trees": known.trees,
    }


def known_wrong_from_json(row: Mapping[str, Any]) -> KnownWrong:
    """Return what :func:`known_wrong_to_json` wrote; raises KeyError, TypeError or ValueError."""
    nearest, farthest = float(row["nearest"]), float(row["farthest"])
    return KnownWrong(str(row["measure"]), nearest, farthest, int(row["trees"]))


def result_to_json(result: RecipeResult) -> dict[str, Any]:
    """Return a recipe's result as JSON shows it."""
    return {
        "port": result.port,
        "recipe": result.recipe,
        "title": result.title,
        "passed": result.passed,
        "runs": result.runs,
        "cached": result.cached,
        "seconds": round(result.seconds, 3),
        "warnings": list(result.warnings),
        "sandbox": result.sandbox,
        "verdicts": [verdict_to_json(verdict) for verdict in result.verdicts],
    }


def result_from_json(row: Mapping[str, Any]) -> RecipeResult:
    """Return the result that :func:`result_to_json` wrote; raises as :func:`verdict_from_json`."""
    import msgspec

    verdicts = tuple(verdict_from_json(verdict) for verdict in row["verdicts"])
    return replace(msgspec.convert({**row, "verdicts": ()}, RecipeResult), verdicts=verdicts)


def whole_text(value: float) -> str:
    """Return a number with all its digits if it is whole, else with four: "1234567", "33.33"."""
    return f"{value:.0f}" if value == int(value) else f"{value:.4g}"


_MOST_NAMES = 12


def names_text(wanted: str, there: Iterable[str]) -> str:
    """Return names as a list, sorted; of many only those most like ``wanted``, and how many more.

    Names with sections ("sampling/replays") are as like as their ends are: a claim's pattern may
    have a star for the section.
    """
    names = sorted(there)
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    ends: dict[str, str] = {}  # the first name with each end: a run has the same for every section
    for name in names:
        ends.setdefault(name.rpartition("/")[2], name)
    end = wanted.rpartition("/")[2]
    near = difflib.get_close_matches(end, ends, n=_MOST_NAMES // 2, cutoff=0)
    shown = ", ".join(ends[one] for one in near)
    return f"{shown} and {len(names) - len(near)} more"


def number_to_json(value: float | None) -> float | str | None:
    """Return a number as JSON can hold it: what is not finite is a text."""
    return value if value is None or math.isfinite(value) else str(value)


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)


@dataclass(frozen=True)
class Outcome:
    """The measure that decides ("max", "rms", "ulps", "dB", "count", ...), its value, and what is
    allowed (the most; with ``lower`` the least).

    ``noise`` is the output's own, in the same measure (None: not measured). ``problem`` says that
    the claim cannot be judged at all; ``detail`` then says why.
    """

    held: bool
    measure: str = ""
    error: float | None = None
    allowed: float | None = None
    detail: str = ""
    problem: bool = False
    lower: bool = False
    noise: float | None = None


def vacuous(detail: str, noise: float | None = None) -> Outcome:
    """Return the outcome of a claim that cannot be judged."""
    return Outcome(held=False, detail=detail, problem=True, noise=noise)
