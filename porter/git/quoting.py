"""Quote paths as git does: in C style when they would not survive in a text file."""

from __future__ import annotations

import re

_ESCAPES = {
    0x07: b"\\a", 0x08: b"\\b", 0x09: b"\\t", 0x0A: b"\\n", 0x0B: b"\\v", 0x0C: b"\\f",
    0x0D: b"\\r", 0x22: b'\\"', 0x5C: b"\\\\",
}  # fmt: skip
_UNESCAPES = {value[1:]: bytes([key]) for key, value in _ESCAPES.items()}
_ESCAPE = re.compile(rb'\\(?:([abtnvfr"\\])|([0-3][0-7]{2}))')
_QUOTED = re.compile(rb'"((?:[^"\\\n]|\\[abtnvfr"\\]|\\[0-3][0-7]{2})*)"')
_NEEDS_QUOTES = re.compile(rb'[\x00-\x1f\x7f"\\]')


def quote(path: bytes) -> bytes:
    """Return ``path`` as git writes it with ``core.quotePath=true``: quoted if need be."""
    if not _NEEDS_QUOTES.search(path) and path.isascii():
        return path
    body = b"".join(
        _ESCAPES.get(byte) or (b"%c" % byte if 0x20 <= byte < 0x7F else b"\\%03o" % byte)
        for byte in path
    )
    return b'"' + body + b'"'


def show_path(path: bytes) -> str:
    """Return ``path`` for people and for JSON: UTF-8 names as text, anything else git-quoted."""
    if not _NEEDS_QUOTES.search(path):
        try:
            return path.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return quote(path).decode("ascii")


def read_path(text: bytes) -> bytes:
    """Return the path that ``text``, quoted or not, stands for.

    Raises ValueError for a broken quotation.
    """
    if not text.startswith(b'"'):
        return text
    path, rest = unquote(text)
    if rest:
        raise ValueError(f"text after the closing quote: {text!r}")
    return path


def unquote(text: bytes) -> tuple[bytes, bytes]:
    """Return (the path in the quotes that ``text`` starts with, what follows them).

    Raises ValueError when the quotation is broken.
    """
    match = _QUOTED.match(text)
    if match is None:
        raise ValueError(f"not a quoted path: {text!r}")
    body = _ESCAPE.sub(lambda m: _UNESCAPES[m[1]] if m[1] else bytes([int(m[2], 8)]), match[1])
    return body, text[match.end() :]
