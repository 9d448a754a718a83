"""What a check found, as the cases of a report: the data that every output form is made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from porter.finding import Finding


@dataclass(frozen=True)
class Case:
    """One thing that was checked: a test case of the report.

    ``group`` is what it belongs to (a port, a recipe), ``findings`` what is wrong with it,
    ``broken`` whether it could not be judged at all, ``skipped`` why it was not checked.
    """

    group: str
    name: str
    findings: Sequence[Finding] = ()
    broken: bool = False
    skipped: str = ""

    @property
    def errors(self) -> list[Finding]:
        """The findings that fail the case; notes do not."""
        return [finding for finding in self.findings if finding.severity == "error"]


def as_json(data: Any) -> str:
    """Return indented JSON; dataclasses become objects, bytes become text."""
    return json.dumps(data, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return asdict(value)
