"""Read the verdicts of other verifications from files of ``porter verify --output FILE.json``.

They fill cells whose runs are not all stored here: a failed run leaves no trace, and the jobs of a
CI matrix run on other machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from porter.atomic import read_json
from porter.errors import BadInput
from porter.verify.judge.result import Verdict, verdict_from_json

ImportedVerdicts = Mapping[tuple[str, str], list[Verdict]]
"""Port and recipe -> verdicts."""


def read_imported(paths: Iterable[Path]) -> ImportedVerdicts:
    """Read the verdicts of some files. Raises BadInput for any other file."""
    found: dict[tuple[str, str], list[Verdict]] = {}
    for path in paths:
        try:
            data = read_json(path)
            for recipe in data["recipes"]:
                several = [verdict_from_json(row) for row in recipe["verdicts"]]
                found.setdefault((str(recipe["port"]), str(recipe["recipe"])), []).extend(several)
        except FileNotFoundError:
            raise BadInput(f"{path}: expected a file of verdicts, found none") from None
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            problem = " ".join(f"{type(error).__name__}: {error}".split())
            expected = "what `porter verify --output FILE.json` writes"
            raise BadInput(f"{path}: expected {expected}, found {problem}") from None
    return found
