"""A level's commit message, part by part: subject, why, and the fields of a patch's header.

Changing one part leaves every other line as it is.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence

from porter.series.header import FIELDS, parse_header
from porter.series.mailinfo import strip_space

SUBJECT, WHY = "Subject", "Why"
PARTS = (SUBJECT, WHY, *FIELDS)
_FIELD = re.compile(rf"({'|'.join(FIELDS)}):[ \t]*(.*)\Z")
_WIDTH = 100


def parts(message: str) -> dict[str, str]:
    """Return the parts of a message by name (:data:`PARTS`), without those that are missing."""
    subject, lines = _split(message)
    first = next((at for at, line in enumerate(lines) if _FIELD.match(line)), len(lines))
    found = {SUBJECT: subject, WHY: "\n".join(lines[:first]).strip("\n")}
    name = ""
    for line in lines[first:]:
        if match := _FIELD.match(line):
            name = match[1]
            found[name] = match[2].strip()
        elif name and line[:1] in (" ", "\t") and line.strip():
            found[name] += " " + line.strip()
        else:
            name = ""
    return {name: value for name, value in found.items() if value}


def with_parts(message: str, values: Mapping[str, str]) -> str:
    """Return a message with some parts replaced; an empty value leaves its part as it is."""
    subject, lines = _split(message)
    subject = values.get(SUBJECT) or subject
    if why := values.get(WHY):
        first = next((at for at, line in enumerate(lines) if _FIELD.match(line)), len(lines))
        lines = [*why.strip("\n").split("\n"), "", *lines[first:]]
    for name in FIELDS:
        if value := values.get(name):
            lines = _with_field(lines, name, value)
    return strip_space("\n".join([subject, "", *lines]))


def _with_field(lines: Sequence[str], name: str, value: str) -> list[str]:
    made = textwrap.wrap(
        f"{name}: {value}", _WIDTH, subsequent_indent=" ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    starts = {match[1]: at for at, line in enumerate(lines) if (match := _FIELD.match(line))}
    if name not in starts:
        later = [starts[other] for other in FIELDS[FIELDS.index(name) :] if other in starts]
        earlier = [starts[other] for other in FIELDS[: FIELDS.index(name)] if other in starts]
        at = min(later) if later else _end(lines, max(earlier)) if earlier else len(lines)
        gap = [] if starts or not lines or not lines[-1].strip() else [""]
        return [*lines[:at], *gap, *made, *lines[at:]]
    at = starts[name]
    return [*lines[:at], *made, *lines[_end(lines, at) :]]


def _end(lines: Sequence[str], at: int) -> int:
    """Return the line after a field that begins at line ``at``."""
    at += 1
    while at < len(lines) and lines[at][:1] in (" ", "\t") and lines[at].strip():
        at += 1
    return at


def _split(message: str) -> tuple[str, list[str]]:
    subject, _, body = message.strip("\n").partition("\n\n")
    return " ".join(subject.split()), body.strip("\n").split("\n")


def joined(below: str, level: str) -> str:
    """Return the header of the one level that two become: the lower one's, and what both state."""
    lower, upper = parts(below), parts(level)
    devices = dict.fromkeys(
        word for each in (lower, upper) for word in re.split(r"[,\s]+", each.get("Devices", ""))
    )
    values = {
        WHY: _both(lower.get(WHY, ""), upper.get(WHY, ""), "\n\n"),
        "Devices": ", ".join(filter(None, devices)),
    }
    for name in ("Keeps", "Gains", "Origin", "Forwarded"):
        values[name] = _both(lower.get(name, ""), upper.get(name, ""), "; ")
    return with_parts(below, values)


def _both(one: str, other: str, between: str) -> str:
    return between.join(dict.fromkeys(filter(None, (one, other))))


def relabelled(text: str, level: str) -> str:
    """Return a message, or a patch file, with another level name; no other byte changes."""
    return re.sub(r"(?m)^(Level:[ \t]*)\S+", lambda match: match[1] + level, text, count=1)


def faults(message: str, level: str) -> list[str]:
    """Return what keeps a message from being the header of ``level``, as porter's reader sees it.

    Author and date are no part of a message, so nothing is said about them.
    """
    subject, lines = _split(message)
    head = "From: A <a@localhost>\nDate: Thu, 7 Dec 2023 12:00:00 +0000\n"
    raw = f"{head}Subject: [PATCH] {subject}\n\n" + "\n".join(lines) + "\n---\n"
    header, problems = parse_header(raw.encode())
    found = [] if subject else ["no subject"]
    found += [problem.text for problem in problems if subject or "Subject" not in problem.text]
    if header.level and header.level != level:
        found.append(f"Level: expected {level}, found {header.level}")
    return found
