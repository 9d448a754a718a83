"""Read a mail's author, subject and text as git does, so that a level's commit is git am's.

The rules are those of git's ``mailinfo.c`` (``cleanup_subject``, ``handle_from``,
``decode_header``), ``ident.c`` (crud around a name) and ``strbuf.c`` (``stripspace``). A blank is a
space, a tab, CR or LF there; a form feed, a no-break space or an ideographic space is a letter,
which Python's own ``split()`` and ``strip()`` would drop.
"""

from __future__ import annotations

import re

BLANKS = " \t\r\n"
_RUN = re.compile(r"[ \t\r\n]+")
_CRUD = "".join(map(chr, range(33))) + ".,:;<>\"\\'"
"""What git strips from both ends of a name; newer git keeps a dot, and lint refuses a name with one
there."""
_WORD = re.compile(r"=\?([^?]*)\?([bBqQ])\?(.*?)\?=", re.DOTALL)
_LONGEST_NAME = 60
_DROPPED = re.compile(r"[ \t:]|(?i:re:)(?!\Z)|(\[[^\]]*\])")


def squeeze(text: str) -> str:
    """Return ``text`` stripped, with one space for each run of blanks."""
    return _RUN.sub(" ", text).strip(" ")


def strip_space(text: str) -> str:
    """Strip blanks at line ends and empty lines at both ends, as ``git stripspace`` does."""
    lines: list[str] = []
    for line in text.split("\n"):
        line = line.rstrip(BLANKS)
        if line or (lines and lines[-1]):
            lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return "".join(line + "\n" for line in lines)


def clean_subject(text: str) -> str:
    """Return a subject without what ``git am`` drops: leading ``Re:`` and ``[...]``, blanks."""
    return squeeze(text[_dropped(text)[0] :])


def dropped_tags(text: str) -> list[str]:
    """Return the leading ``[...]`` that ``git am`` drops from a subject."""
    return _dropped(text)[1]


def _dropped(text: str) -> tuple[int, list[str]]:
    at, tags = 0, []
    while match := _DROPPED.match(text, at):
        at = match.end()
        tags += [match[1]] if match[1] else []
    return at, tags


def read_author(text: str) -> tuple[str, str]:
    """Return name and e-mail address of a ``From:`` value; empty where git finds none."""
    text = squeeze(text)
    plain = _unquoted(text)
    at = plain.find("@")
    if at < 0:
        match = re.search(r"<([^>]*)>", text)
        name, email = (text[: match.start()].strip(" "), match[1]) if match else ("", "")
    else:
        start = max(plain.rfind(" ", 0, at), plain.rfind("<", 0, at)) + 1
        email = re.split(r"[ \v\f>]", plain[start:], maxsplit=1)[0]
        rest = plain[start + len(email) + 1 :]
        name = squeeze(f"{plain[:start].removesuffix('<')} {rest}")
        if name[:1] == "(" and name[-1:] == ")":
            name = name[1:-1]
    if not name or len(name.encode()) > _LONGEST_NAME or any(c in name for c in "@<>"):
        name = email
    return _ident(name), _ident(email)


def _ident(text: str) -> str:
    return re.sub(r"[<>\n]", "", text.strip(_CRUD))


def _unquoted(text: str) -> str:
    """Return ``text`` without the quotes of strings and the backslashes in strings and comments."""
    out, depth, quoted, literal = "", 0, False, False
    for char in text:
        if literal:
            literal = False
        elif char == "\\" and (quoted or depth):
            literal = True
            continue
        elif char == '"' and not depth:
            quoted = not quoted
            continue
        elif not quoted and char == "(":
            depth += 1
        elif char == ")" and depth:
            depth -= 1
        out += char
    return out


def decode_words(text: str) -> str:
    """Decode RFC 2047 words (``=?UTF-8?q?...?=``). Raises ValueError for one that is broken."""
    out, at = "", 0
    while (start := text.find("=?", at)) >= 0:
        if (match := _WORD.match(text, start)) is None:
            raise ValueError(text[start:])
        between = text[at:start]
        if at == 0 or between.strip(BLANKS):
            out += between
        out += _decoded(*match.groups())
        at = match.end()
    return out + text[at:]


def _decoded(charset: str, encoding: str, text: str) -> str:
    from binascii import a2b_base64, a2b_qp

    try:
        decode = a2b_base64(text) if encoding in "bB" else a2b_qp(text, header=True)
        return decode.decode(charset)
    except LookupError:
        raise ValueError(charset) from None
