"""Make the message of a patch made elsewhere the header of a level.

What the patch states stays as it is. What it does not state is ``TODO``, which ``porter lint``
reports, unless the user gives it. Lines that would end the message or that would be read as
another field are quoted with ``> ``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from porter.editing.message import SUBJECT, WHY, parts, with_parts
from porter.errors import BadInput
from porter.exchange.incoming import Incoming
from porter.series.header import (
    FIELDS,
    UNKNOWN,
    Header,
    Problem,
    ends_message,
    is_level_name,
    parse_header,
)

MAIL = ("From", "Date", "Subject")
Ask = Callable[[str, str, str], str]
"""Asks for a field: ``ask(patch, field, default)`` returns its value, perhaps empty."""
_LONGEST_NAME = 52  # as `git format-patch` cuts file names


@dataclass(frozen=True, slots=True)
class Given:
    """What the user says of the patches: fields, From, Date and Subject by name, and the reason."""

    values: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


def given_of(texts: Collection[str], author: str = "", date: str = "") -> Given:
    """Read ``--header``: ``FIELD=VALUE``, or a file that looks like the header of a patch."""
    values: dict[str, str] = {}
    reason = ""
    for text in texts:
        name, equals, value = text.partition("=")
        if equals and name in (*FIELDS, *MAIL):
            values[name] = value.strip()
            continue
        if not Path(text).is_file():
            known = ", ".join((*MAIL, *FIELDS))
            raise BadInput(f"--header {text}: expected a file or FIELD=VALUE, with {known}")
        raw = Path(text).read_bytes()
        header, _ = parse_header(raw)
        stated = {name: getattr(header, name.lower()) for name in FIELDS if name in header.lines}
        stated["Devices"] = ", ".join(header.devices)
        who = f"{header.author.name} <{header.author.email}>" if header.author.name else ""
        stated |= {"Subject": header.subject, "Date": header.date, "From": who}
        values |= {name: value for name, value in stated.items() if value}
        reason = _reason(header.body) or reason
    values |= {name: v for name, v in (("From", author), ("Date", date)) if v}
    return Given(values, reason)


def _reason(body: str) -> str:
    """Return a header's text without the fields of a level."""
    lines = [line for line in body.split("\n") if line.partition(":")[0] not in FIELDS]
    return "\n".join(lines).strip()


@dataclass(frozen=True, slots=True)
class Completed:
    """A patch with a header that a level can have. ``unknown`` are the fields written TODO."""

    item: Incoming
    level: str
    unknown: tuple[str, ...] = ()
    quoted: int = 0


def complete(item: Incoming, given: Given, taken: Collection[str], ask: Ask | None) -> Completed:
    """Return the patch with every field. ``taken`` are the names of other levels.

    Raises BadInput for a stated level name that is taken, and for a value that a field cannot have.
    """
    message, quoted = _quoted(item.message)
    header = _parsed(message)
    stated = {name for name in FIELDS if name in header.lines}
    values = dict(given.values)
    if ask is not None and item.bare:
        values |= _asked(item, given, ask)
    level = values.get("Level") or (header.level if "Level" in stated else "")
    if not level:
        level = _free_name(item.name or header.subject, taken)
    elif level in taken:
        raise BadInput(
            f"{item.where}: the series already has a level {level!r}; --header Level=NAME names"
            " this one"
        )
    values["Level"] = level
    if item.origin and "Origin" not in stated:
        values.setdefault("Origin", item.origin)
    message, unknown = _message(item, header, values, stated, given.reason)
    for problem in _problems(message):
        raise BadInput(f"{item.where}: {problem.text}")
    author, date = values.get("From", item.author), values.get("Date", item.date)
    done = replace(item, message=message, author=author, date=date)
    return Completed(done, level, unknown, quoted)


def _asked(item: Incoming, given: Given, ask: Ask) -> dict[str, str]:
    defaults = {"Level": level_name(item.name), "Origin": item.origin}
    wanted = [name for name in ("Subject", *FIELDS) if name not in given.values]
    answers = {name: ask(item.where, name, defaults.get(name, "")).strip() for name in wanted}
    return {name: answer for name, answer in answers.items() if answer}


def _message(
    item: Incoming, header: Header, values: Mapping[str, str], stated: set[str], reason: str
) -> tuple[str, tuple[str, ...]]:
    """Return the message with all fields, and the names of those that are not known."""
    made = {name: values[name] for name in FIELDS if name in values}
    made[SUBJECT] = values.get("Subject") or header.subject
    made[WHY] = reason
    unknown = []
    if not made[SUBJECT]:
        made[SUBJECT] = f"{UNKNOWN}: what {item.name or item.where} changes"
        unknown.append("Subject")
    if not reason and WHY not in parts(header.message):
        made[WHY] = f"{UNKNOWN}: the reason"
        unknown.append("the reason")
    for name in FIELDS:
        if name not in stated and name not in made:
            made[name] = UNKNOWN
            unknown.append(name)
    return with_parts(header.message, made), tuple(unknown)


def _quoted(message: str) -> tuple[str, int]:
    """Quote the lines of a message that a mail cannot hold, or that would be wrong fields.

    Returns how many these are.
    """
    subject, _, body = message.replace("\r", "").replace("\0", "").strip().partition("\n\n")
    lines = body.split("\n")
    odd = {at for at, line in enumerate(lines) if ends_message(line)}
    while True:
        text = "\n".join(f"> {line}" if at in odd else line for at, line in enumerate(lines))
        made = f"{' '.join(subject.split())}\n\n{text}".strip()
        wrong = {problem.line - _BODY for problem in _problems(made) if not _no_reason(problem)}
        wrong = {at for at in wrong - odd if 0 <= at < len(lines)}
        if not wrong:
            return made, len(odd)
        odd |= wrong


def _no_reason(problem: Problem) -> bool:
    return "gives no reason" in problem.text


_HEAD = "From: x <x@example.org>\nDate: 1 Jan 2000 00:00:00 +0000\nSubject: [PATCH] "
_BODY = 5  # the line of the file that the message's body begins on


def _raw(message: str) -> bytes:
    subject, _, body = message.strip().partition("\n\n")
    return f"{_HEAD}{' '.join(subject.split())}\n\n{body.rstrip()}\n---\n".encode()


def _parsed(message: str) -> Header:
    return parse_header(_raw(message))[0]


def _problems(message: str) -> list[Problem]:
    """Return what is wrong in a message, other than what it lacks."""
    return [each for each in parse_header(_raw(message))[1] if each.line]


def level_name(text: str) -> str:
    """Return a level's name made of a file name or a subject; empty when no word is left."""
    text = re.sub(r"^\d{1,4}[-_]|\.(patch|diff|mbox|eml)$", "", text.lower())
    text = re.sub(r"\.(patch|diff)$", "", text)
    name = ""
    for word in re.findall(r"[a-z0-9]+(?:\.[a-z0-9]+)*", text):
        if name and len(name) + len(word) >= _LONGEST_NAME:
            break
        name = f"{name}-{word}" if name else word
    return name


def _free_name(text: str, taken: Collection[str]) -> str:
    name = level_name(text) or "imported"
    if not is_level_name(name):
        name = f"imported-{name}"
    number, free = 2, name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free
