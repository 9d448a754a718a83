"""Find out which licence an upstream states, as an SPDX identifier.

The text of its licence file is compared with the texts of common licences by ``identify``, which
allows for 5 % of edits. Without such a file the ``license`` of its package's metadata counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from porter.scratch import scratch_folder

NONE = "NONE"
NOASSERTION = "NOASSERTION"
FILE_NAME = re.compile(r"(?i)(un)?licen[cs]e([-._].*)?|copying([-._].*)?")
"""Names of licence files, at the top of an upstream."""
_GNU = re.compile(r"[AL]?GPL-\d\.\d")
_TITLES = {
    "creativeml open rail-m": "LicenseRef-CreativeML-Open-RAIL-M",
    "creativeml open rail++-m": "LicenseRef-CreativeML-Open-RAIL++-M",
}
"""Licences that SPDX does not list, by their titles."""
_LOOSE = {
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
}
"""What metadata of packages calls the two most common ones."""


@dataclass(frozen=True)
class Licence:
    """An SPDX identifier, ``NONE`` or ``NOASSERTION``; where it was read, or what is unclear."""

    id: str
    note: str


def licence_of(texts: Mapping[str, bytes], stated: str | None, readme: bytes = b"") -> Licence:
    """Return the licence of an upstream.

    ``texts`` are its licence files by name, ``stated`` is what its package's metadata says.
    """
    found = {name: _of_text(text) for name, text in sorted(texts.items())}
    known = {each for each in found.values() if each}
    if len(known) == 1 and all(found.values()):
        name = known.pop()
        note = ", ".join(found)
        if _GNU.fullmatch(name):
            return Licence(f"{name}-only", f"{note}; does the upstream say 'or later'?")
        return Licence(name, note)
    if found:
        seen = ", ".join(f"{name}: {of or 'a text of its own'}" for name, of in found.items())
        return Licence(NOASSERTION, f"{seen}; read it and write the SPDX identifier")
    if stated:
        if named := _of_metadata(stated):
            return Licence(named, "its package's metadata")
        return Licence(NOASSERTION, f"its metadata says {stated[:60]!r}; which licence is that?")
    if re.search(rb"(?i)licen[cs]e", readme):
        return Licence(NOASSERTION, "no licence file, but its README speaks of a licence; read it")
    return Licence(NONE, "no licence file, and none in its metadata")


def _of_text(content: bytes) -> str | None:
    """Return the licence whose text this is, or None."""
    text = content.decode("utf-8", "replace")
    head = " ".join(text.lower().split())[:400]
    for title, name in _TITLES.items():
        if title in head:
            return name
    with scratch_folder("licence") as folder:
        path = folder / "LICENSE"
        path.write_text(text, encoding="utf-8")
        try:
            from identify.identify import license_id

            return license_id(str(path))
        except ImportError:  # an installation for patches alone has neither it nor ukkonen
            return None


def _of_metadata(stated: str) -> str | None:
    if loose := _LOOSE.get(" ".join(stated.lower().split())):
        return loose
    try:
        from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
    except ImportError:  # packaging before 24.2
        return None
    try:
        return canonicalize_license_expression(stated)
    except InvalidLicenseExpression:
        return None
