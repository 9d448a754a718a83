"""Verdicts that other verifications told, in files of ``porter verify --output FILE.json``.

They fill the cells whose runs are not all stored here: a run that failed leaves no trace, and the
jobs of a CI matrix run on other machines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from porter.errors import BadInput
from porter.verify.judge.result import Verdict

ImportedVerdicts = Mapping[tuple[str, str], list[Verdict]]
"""Port and recipe -> verdicts."""


def read_imported(paths: Iterable[Path]) -> ImportedVerdicts:
    """Read the verdicts of some files. Raises BadInput for a file that is none of these."""
    found: dict[tuple[str, str], list[Verdict]] = {}
    for path in paths:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            for recipe in data["recipes"]:
                several = [_verdict(row) for row in recipe["verdicts"]]
                found.setdefault((str(recipe["port"]), str(recipe["recipe"])), []).extend(several)
        except FileNotFoundError:
            raise BadInput(f"{path}: expected a file of verdicts, found none") from None
        except (KeyError, TypeError, AttributeError, ValueError, msgspec.ValidationError) as error:
            told = " ".join(f"{type(error).__name__}: {error}".split())
            expected = "what `porter verify --output FILE.json` writes"
            raise BadInput(f"{path}: expected {expected}, found {told}") from None
    return found


def _verdict(row: Mapping[str, Any]) -> Verdict:
    variant = tuple((name, json.dumps(value)) for name, value in row["variant"].items())
    texts = ("level_name", "dtype", "output", "claim", "measure", "detail", "stderr", "narrow")
    return msgspec.convert(
        {name: row[name] or "" for name in texts}
        | {name: row[name] for name in ("level", "device", "seed", "subject")}
        | {
            "variant": variant,
            "word": row["verdict"],
            "lower": row["bound"] == "least",
            "error": _number(row["error"]),
            "allowed": _number(row["allowed"]),
            "noise": _number(row.get("noise")),  # older files have none
        },
        Verdict,
    )


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)
