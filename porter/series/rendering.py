"""Write the header of a patch file: the one form that ``porter export`` gives a commit.

``porter lint`` renders each header again and compares: what it passes, an export leaves as it is.
"""

from __future__ import annotations

import time

from porter.series.mailinfo import BLANKS, read_author, squeeze, strip_space

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def mail_message(message: str) -> str:
    """Return a commit's message as it survives a mail: its first paragraph is one line."""
    subject, _, body = strip_space(message).partition("\n\n")
    return strip_space(f"{squeeze(subject)}\n\n{body}")


def mail_date(seconds: int, zone: str) -> str:
    """Return a commit's time as a mail states it (git's ``%aD``); ``zone`` is as ``+0100``."""
    away = int(zone[1:3]) * 3600 + int(zone[3:]) * 60
    at = time.gmtime(seconds + (-away if zone[0] == "-" else away))
    day = f"{_DAYS[at.tm_wday]}, {at.tm_mday} {_MONTHS[at.tm_mon - 1]} {at.tm_year}"
    return f"{day} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} {zone}"


def render_header(author: str, date: str, message: str) -> bytes:
    """Return a patch file up to its diff, for a commit.

    ``author`` is ``Name <email>``, ``date`` is in a mail's form (:func:`mail_date`).
    """
    subject, _, body = mail_message(message).partition("\n\n")
    head = (
        f"From: {_mail_author(author)}\nDate: {date}\nSubject: [PATCH] {subject.rstrip(BLANKS)}\n\n"
    )
    return f"{head}{body}---\n".encode()


def _mail_author(author: str) -> str:
    """Return the author as ``From:`` states it, the name in quotes where a mail needs them."""
    name, _, email = author.removesuffix(">").rpartition(" <")
    if read_author(author) == (name, email):
        return author
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{email}>'
