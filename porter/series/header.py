"""Parse the header of a patch file: a mail as ``git am`` reads it, with DEP-3 fields at its end.

The result (subject without ``[PATCH]``, stripped body, cleaned name) is git's own, so a level's
commit is the one that ``git am --committer-date-is-author-date`` makes when the author is also the
committer. Problems are collected, not raised: ``porter lint`` reports all of them, loading a series
raises the first.
"""

from __future__ import annotations

import re
from calendar import timegm
from dataclasses import dataclass

from porter.git.objects import Signature
from porter.series.mailinfo import (
    BLANKS,
    clean_subject,
    decode_words,
    dropped_tags,
    read_author,
    strip_space,
)
from porter.terminal import and_listed

FIELDS = ("Level", "Devices", "Keeps", "Gains", "Origin", "Forwarded")
MAIL_FIELDS = ("From", "Date", "Subject")
_NEEDED = (*MAIL_FIELDS, "Level")
BARE = (
    "a bare diff without a header; `porter import` takes it in and gives it one"
    f" ({', '.join((*MAIL_FIELDS, *FIELDS))})"
)
"""The one problem of a patch file that has nothing of a header."""
DEVICES = ("cpu", "cuda", "hpu", "npu")
UNKNOWN = "TODO"
"""Begins what an imported patch did not state: a field's value, the subject, the reason."""

_MAIL_LINE = re.compile(r"([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*)\Z")
_FIELD_LINE = re.compile(rf"({'|'.join(FIELDS)}):[ \t]*(.*)\Z")
_FROM = re.compile(r"[^<>]*<[^<> \t\v\f]+>\Z")
_DATE = re.compile(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )? ?(\d{1,2}) "
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) (\d{4}) "
    r"(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\Z",
    re.ASCII,
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LEVEL_NAME = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*\Z")
_END = re.compile(rb"^(?:(---[ \t\r]*$)|diff -|Index: |--- [^ \t\r\n])", re.MULTILINE)
_IN_BODY = re.compile(r"(?i:From|Date|Subject):(?=[ \t]|\Z)|>From |\[PATCH\](?=[ \t]|\Z)")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a patch file: line number (0: the file as a whole) and one sentence.

    ``blocks``: no level can be named or built while the problem exists.
    """

    line: int
    text: str
    blocks: bool = False


@dataclass(frozen=True, slots=True)
class Header:
    """The header's fields. ``message`` is the commit's; absent fields are empty."""

    author: Signature
    date: str
    subject: str
    body: str
    message: str
    level: str
    devices: tuple[str, ...]
    keeps: str
    gains: str
    origin: str
    forwarded: str
    lines: dict[str, int]
    """Line number of each field present."""
    end: int
    """Line number of the ``---`` line (one past the header's last line when there is none)."""
    bare: bool = False
    """Whether the file is a diff alone, without any field."""


def is_level_name(text: str) -> bool:
    """Return whether a level can have this name."""
    return bool(_LEVEL_NAME.match(text)) and not text.isdigit() and text != "upstream"


def parse_header(raw: bytes) -> tuple[Header, list[Problem]]:
    """Parse the header of a patch file's bytes. Never raises."""
    return _Reader(raw).read()


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self.problems: list[Problem] = []
        self.found: dict[str, int] = {}
        self.values: dict[str, str] = {}
        head, self.separator = _cut(raw)
        self.has_diff = len(head) < len(raw)
        try:
            text = head.decode("utf-8")
        except UnicodeDecodeError as error:
            self.report(
                head.count(b"\n", 0, error.start) + 1, "expected UTF-8 in the header", blocks=True
            )
            text = head.decode("utf-8", "replace")
        if "\r" in text:
            line = text.count("\n", 0, text.index("\r")) + 1
            problem = "a carriage return in the header; expected lines that end in LF"
            self.report(line, problem, blocks=True)
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            self.report(line, "a NUL byte in the header, which git am refuses", blocks=True)
        self.lines = text.split("\n")

    def report(self, line: int, text: str, *, blocks: bool = False) -> None:
        self.problems.append(Problem(line, text, blocks))

    def read(self) -> tuple[Header, list[Problem]]:
        at = self._mail()
        if self.separator is None:
            self.report(0, "no `---` line between the header and the diff")
        body = self.lines[at:]
        self._fields(body, at)
        self._presence()
        subject = self._subject()
        name, email = self._author()
        seconds, zone = self._date()
        text = strip_space("\n".join(body))
        self._why(body, at)
        header = Header(
            author=Signature(name, email, seconds, zone),
            date=self.values.get("Date", ""),
            subject=subject,
            body=text,
            message=strip_space(f"{subject}\n\n{text}"),
            level=self._level(),
            devices=self._devices(),
            keeps=self.values.get("Keeps", ""),
            gains=self.values.get("Gains", ""),
            origin=self.values.get("Origin", ""),
            forwarded=self.values.get("Forwarded", ""),
            lines=self.found,
            end=self.separator or len(self.lines),
            bare=self.has_diff and self.found.keys().isdisjoint((*MAIL_FIELDS, *FIELDS)),
        )
        return header, [Problem(0, BARE, blocks=True)] if header.bare else self.problems

    # -- the mail's own lines ---------------------------------------------------------------------

    def _mail(self) -> int:
        """Parse up to the first empty line; return the index of the line after it."""
        name = ""
        for index, line in enumerate(self.lines):
            if not line:
                return index + 1
            if line[0] in " \t" and name:
                self.values[name] += " " + line.strip(BLANKS)
                continue
            match = _MAIL_LINE.match(line)
            if match is None:
                text = f"expected `Name: value` or an empty line, found {line!r}"
                self.report(index + 1, text, blocks=not line.startswith("From "))
                continue
            name = match[1]
            self._mail_field(index + 1, name, match[2].strip(BLANKS))
        return len(self.lines)

    def _mail_field(self, line: int, name: str, value: str) -> None:
        lowered = name.lower()
        if (
            lowered == "content-type"
            and "charset" in value.lower()
            and "utf-8" not in value.lower()
        ):
            text = f"Content-Type: expected charset=UTF-8, found {value!r}"
            self.report(line, text, blocks=True)
        if lowered == "content-transfer-encoding" and value.lower() not in ("8bit", "7bit"):
            text = f"Content-Transfer-Encoding: expected 8bit, found {value!r}"
            self.report(line, text, blocks=True)
        if name in FIELDS:
            self.report(line, f"{name}: belongs at the end of the message, not in the mail header")
        if name in self.found:
            text = f"{name}: repeated, first on line {self.found[name]}"
            self.report(line, text, blocks=name in MAIL_FIELDS)
            return
        self.found[name] = line
        self.values[name] = value

    def _presence(self) -> None:
        """Report the fields that are missing or empty; one problem names all that are missing."""
        for name in MAIL_FIELDS + FIELDS:
            if name in self.found and not self.values[name]:
                text = f"{name}: expected a value, found none"
                self.report(self.found[name], text, blocks=name in _NEEDED)
        missing = [name for name in MAIL_FIELDS + FIELDS if name not in self.found]
        if missing:
            names = and_listed([f"`{name}:`" for name in missing])
            lines = "line" if len(missing) == 1 else "lines"
            blocks = any(name in _NEEDED for name in missing)
            self.report(0, f"no {names} {lines} in the header", blocks=blocks)

    def _words(self, name: str) -> str:
        """Return a field's value with its RFC 2047 words decoded."""
        value = self.values.get(name, "")
        try:
            return decode_words(value)
        except ValueError:
            text = f"{name}: expected whole encoded words (RFC 2047), found {value!r}"
            self.report(self.found[name], text, blocks=True)
            return value

    def _subject(self) -> str:
        text = self._words("Subject")
        subject = clean_subject(text)
        line = self.found.get("Subject", 0)
        tags = [tag for tag in dropped_tags(text) if "PATCH" not in tag]
        if text and not subject:
            self.report(line, f"Subject: git am drops all of {text!r}", blocks=True)
        elif tags:
            text = f"Subject: git am drops {and_listed([f'`{tag}`' for tag in tags])}"
            self.report(line, f"{text}; write it as `{tags[0][1:-1]}: ...`")
        return subject

    def _author(self) -> tuple[str, str]:
        if not (text := self._words("From")):
            return "", ""
        name, email = read_author(text)
        if not name or not email or not _FROM.match(text):
            problem = f"From: expected `Name <email>`, found {text!r}"
            self.report(self.found["From"], problem, blocks=True)
        return name, email

    def _date(self) -> tuple[int, str]:
        if not (text := self.values.get("Date", "")):
            return 0, "+0000"
        match = _DATE.match(text)
        if match is not None:
            month = _MONTHS.index(match[2]) + 1
            day, year, hour, minute, second = (int(match[n]) for n in (1, 3, 4, 5, 6))
            hours, minutes = int(match[8]), int(match[9])
            known = 1970 <= year < 2100 and 1 <= day <= 31 and hours < 24 and minutes < 60
            away = (hours * 3600 + minutes * 60) * (-1 if match[7] == "-" else 1)
            # As in git, month lengths are not checked.
            at = timegm((year, month, day, hour, minute, second)) - away
            if known and hour < 24 and minute < 60 and second < 60 and at >= 0:
                return at, match[7] + match[8] + match[9] if away else "+0000"
        example = "Thu, 7 Dec 2023 12:00:00 +0100"
        problem = f"Date: expected a date such as {example!r}, found {text!r}"
        self.report(self.found["Date"], problem, blocks=True)
        return 0, "+0000"

    # -- the message's end ------------------------------------------------------------------------

    def _fields(self, body: list[str], at: int) -> None:
        name = ""
        for index, line in enumerate(body):
            match = _FIELD_LINE.match(line) if ":" in line else None
            if match is not None:
                name = match[1]
                if name in self.found:
                    first = self.found[name]
                    self.report(at + index + 1, f"{name}: repeated, first on line {first}")
                    name = ""
                    continue
                self.found[name] = at + index + 1
                self.values[name] = match[2].strip(BLANKS)
            elif name and line[:1] in (" ", "\t") and (more := line.strip(BLANKS)):
                self.values[name] = f"{self.values[name]} {more}".strip(BLANKS)
            else:
                name = ""

    def _why(self, body: list[str], at: int) -> None:
        first = next((i for i, line in enumerate(body) if line.strip(BLANKS)), None)
        if first is None or _FIELD_LINE.match(body[first]):
            self.report(
                at + 1, "the message gives no reason: expected a few sentences before the fields"
            )
        elif match := _IN_BODY.match(body[first]):
            text = f"the message begins with {match[0]!r}, which git am would read as a mail header"
            self.report(at + first + 1, text, blocks=True)

    def _level(self) -> str:
        level = self.values.get("Level", "")
        if level and not is_level_name(level):
            self.report(
                self.found["Level"],
                "Level: expected a name of lower-case words joined by '-', not a number and not "
                f"'upstream', found {level!r}",
                blocks=True,
            )
        return level

    def _devices(self) -> tuple[str, ...]:
        devices = tuple(filter(None, re.split(r"[, \t]+", self.values.get("Devices", ""))))
        for device in devices:
            if device not in (*DEVICES, UNKNOWN):
                known = ", ".join(DEVICES)
                self.report(self.found["Devices"], f"Devices: expected {known}; found {device!r}")
        return devices


def ends_message(line: str) -> bool:
    """Return whether git takes the line for the end of a mail's message."""
    return _END.match(line.encode()) is not None


def _cut(raw: bytes) -> tuple[bytes, int | None]:
    """Return (the header's bytes, the line number of its ``---`` line).

    As git's mailinfo does, the message also ends at a line that begins a diff.
    """
    match = _END.search(raw)
    if match is None:
        return raw, None
    own = match[1] is not None
    return raw[: match.start()], raw.count(b"\n", 0, match.start()) + 1 if own else None
