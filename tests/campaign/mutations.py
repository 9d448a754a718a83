"""Valid inputs changed a little: hypothesis strategies, so that most get past the first parser."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

ODD_TEXTS = (
    "", "../../outside", "/outside", "a\nb", "\x00", "\x1b[31m", "é", "\ud800", "-", "--help",
    "~", ".git/hooks/x", "a" * 5000, "HEAD", "%s%n", "${HOME}", "0" * 40, "f" * 40, "null", "[",
)  # fmt: skip
ODD_NUMBERS = (0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308)
_TOKENS = (
    b"\0", b"\r\n", b"\n", b"\t", b" ", b"-", b"+", b"@@ -1 +1 @@\n", b"@@ -1,99999999 +1,3 @@\n",
    b"--- a/../../x\n+++ b/../../x\n", b"diff --git a/x b/x\n", b"rename from x\nrename to y\n",
    b"GIT binary patch\nliteral 3\n", b"old mode 100644\nnew mode 120000\n", b"\\ No newline\n",
    b"index 0000000..1111111 160000\n", b"Subject: =?utf-8?q?x?=\n", b"Level: a\n", b"---\n",
    b"From: <>\n", b"# off: x.patch\n", b"-p0", b"&a *a", b"!!python/name:os.system ", b"<<: *a",
    b"\xff\xfe", b"\xef\xbb\xbf", b"9" * 40, b"{", b"]", b"'", b'"',
)  # fmt: skip

# Hypothesis draws bounds and small numbers often; a file's first line is no better than the others.
_places = st.integers(0, 2**16 - 1).map(lambda n: (n * 40503 + 12345) % 2**16 / 2**16)


def _cut(data: bytes, at: float) -> int:
    return int(at * (len(data) + 1))


def _other_letter(data: bytes, at: int, number: int) -> bytes:
    """Replace the next letter or digit after ``at`` by another of its kind."""
    while at < len(data):
        for kind in (b"0123456789", b"abcdef", b"abcdefghijklmnopqrstuvwxyz"):
            if data[at] in kind:
                return data[:at] + bytes([kind[number % len(kind)]]) + data[at + 1 :]
        at += 1
    return data


@st.composite
def changed_bytes(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Change one to three places of one of ``seeds``: tokens, lines, bytes, numbers."""
    data = draw(st.sampled_from(list(seeds)))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        how, at, other = draw(st.integers(0, 24)), draw(_places), draw(_places)
        if how > 7:
            data = _other_letter(data, _cut(data, at), draw(st.integers(0, 25)))
            continue
        lines = data.split(b"\n")
        here, there = int(at * len(lines)), int(other * len(lines))
        if how == 0:
            lines[here], lines[there] = lines[there], lines[here]
        elif how == 1:
            lines.insert(here, lines[there])
        elif how == 2:
            del lines[here]
        elif how == 3:
            lines[here] = lines[here].swapcase()
        elif how == 4:
            words = lines[here].split(b" ")
            words[int(other * len(words))] = draw(st.sampled_from(_TOKENS)).strip(b"\n")
            lines[here] = b" ".join(words)
        if how <= 4:
            data = b"\n".join(lines)
            continue
        cut = _cut(data, at)
        if how == 5:
            data = data[:cut] + draw(st.sampled_from(_TOKENS)) + data[cut:]
        elif how == 6:
            data = data[:cut] + bytes([draw(st.integers(0, 255))]) + data[cut + 1 :]
        else:
            data = data[:cut] + data[cut + draw(st.integers(1, 40)) :]
    return data


ODD_LINES = (
    b"", b" ", b"x", b"a: b", b"Level: other", b"Level: ../../outside", b"Devices: hpu",
    b"Devices: all, none", b"Origin: https://example.org/x", b"Forwarded: no",
    b"Keeps: " + b"x" * 900, "Gains: \u00a0\u3000\u200b".encode(), b"Subject: again",
    b"Signed-off-by: A <a@b.example>",
    b"- a list", b"    indented", b"diff is a word", b"[hpu] x", b"> quoted", b"From here on",
)  # fmt: skip
"""Lines that a header may hold."""


@st.composite
def changed_header(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Change one to three lines of the message that a patch of ``seeds`` begins with.

    From, Date and Subject stay at the front, so most of the results have a readable header.
    """
    head, mark, diff = draw(st.sampled_from(list(seeds))).partition(b"\n---\n")
    lines = head.split(b"\n")
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        first = lines.index(b"") + 1 if b"" in lines else len(lines)
        here = first + int(draw(_places) * max(len(lines) - first, 0))
        there = first + int(draw(_places) * max(len(lines) - first, 0))
        how = draw(st.integers(0, 9))
        if how == 0:
            lines.insert(here, draw(st.sampled_from(ODD_LINES)))
        elif how == 1 and here < len(lines) and there < len(lines):
            lines[here], lines[there] = lines[there], lines[here]
        elif how == 2 and here < len(lines):
            lines.insert(there, lines[here])
        elif how == 3 and here < len(lines):
            del lines[here]
        elif how == 4 and here < len(lines):
            name, colon, _ = lines[here].partition(b": ")
            odd = draw(st.sampled_from(ODD_LINES)).lstrip() or b"y"
            lines[here] = name + colon + odd if colon else odd
        elif how == 5 and first > 1:
            at = int(draw(_places) * (first - 1))
            words = lines[at].split(b" ")
            words.insert(draw(st.integers(1, len(words))), draw(st.sampled_from(_HEAD_WORDS)))
            lines[at] = b" ".join(words)
        elif here < len(lines):
            name, colon, text = lines[here].rpartition(b": ")
            at = int(draw(_places) * len(text))
            lines[here] = name + colon + _other_letter(text, at, draw(st.integers(0, 25)))
    return b"\n".join(lines) + mark + diff


_HEAD_WORDS = (
    b"x", b"[hpu]", b"=?utf-8?q?=C3=A9?=", "\u00e9".encode(), b"(x)", b'"x"', b"'", b"\\",
)  # fmt: skip


@st.composite
def changed_diff(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Change what a patch of ``seeds`` says, not its form: its lines' text, places, paths, files.

    The numbers of lines in the hunks stay true, so most of the results can be read as a patch.
    """
    head, mark, diff = draw(st.sampled_from(list(seeds))).partition(b"\ndiff --git ")
    files = diff.removesuffix(b"\n").split(b"\ndiff --git ") if mark else []
    for _ in range(draw(st.sampled_from([1, 1, 2, 3])) if files else 0):
        at = int(draw(_places) * len(files))
        how = draw(st.integers(0, 8))
        if how == 0 and len(files) > 1:
            other = int(draw(_places) * len(files))
            files[at], files[other] = files[other], files[at]
        elif how == 1:
            files.append(files[at])
        elif how == 2 and len(files) > 1:
            del files[at]
        elif how == 3:
            files[at] = _other_path(files[at], draw(st.sampled_from(_PATHS)))
        else:
            lines = files[at].split(b"\n")
            rows = [n for n, row in enumerate(lines) if row[:1] in b" +-@" and row[:3] not in _ENDS]
            if rows:
                n = rows[int(draw(_places) * len(rows))]
                lines[n] = _other_row(draw, lines[n])
            files[at] = b"\n".join(lines)
    return mark.join([head, *files]) + b"\n"


_PATHS = (
    b"x", b"pkg/a.py", b"pkg/new.py", b"pkg", b"pkg/a.py/x", b"../outside", b".git/hooks/x",
    b"LIB/x", b".GIT/x", b"a/b/c/d/e", b"media/big.txt", b"README.md", b".gitmodules", b"LIB",
    b"p" * 300,
)  # fmt: skip
_ENDS = (b"---", b"+++")


def _other_path(text: bytes, path: bytes) -> bytes:
    """Let the diff of one file be about ``path``."""
    old = text.split(b"\n")[0].rpartition(b" b/")[2]
    if not old:
        return text
    return text.replace(b"a/" + old, b"a/" + path).replace(b"b/" + old, b"b/" + path)


def _other_row(draw: st.DrawFn, row: bytes) -> bytes:
    """Change the text of a line of a hunk, or where the hunk begins."""
    if row.startswith(b"@@"):
        words = row.split(b" ")
        at = draw(st.integers(1, 2))
        begin, comma, many = words[at].partition(b",") if len(words) > 2 else (b"", b"", b"")
        if begin[1:] not in (b"", b"0"):
            odd = draw(st.sampled_from([1, 2, 3, 9, 39, 99, 10**6, 2**31, 2**63]))
            words[at] = begin[:1] + str(odd).encode() + comma + many
        return b" ".join(words)
    odd = draw(st.sampled_from([b"", b"x", b"a3 = 3", b"\t", b"x" * 5000, b"\xff", b"-- ", b"@@"]))
    return row[:1] + odd


@st.composite
def changed_value(draw: st.DrawFn, seeds: Sequence[Any]) -> Any:
    """Change one or two values, keys or rows of a JSON-like value."""
    value = copy.deepcopy(draw(st.sampled_from(list(seeds))))
    for _ in range(draw(st.integers(1, 2))):
        holders = list(_holders(value))
        if not holders:
            break
        holder, key = holders[int(draw(_places) * len(holders))]
        how = draw(st.integers(0, 6))
        old = holder[key]
        if how == 0:
            holder[key] = draw(st.sampled_from(ODD_TEXTS))
        elif how == 1:
            holder[key] = draw(st.sampled_from(ODD_NUMBERS))
        elif how == 2:
            holder[key] = draw(st.sampled_from([None, True, [], {}, [old], {"x": old}, [old] * 50]))
        elif how == 3:
            del holder[key]
        elif how == 4 and isinstance(holder, dict):
            holder[draw(st.sampled_from(ODD_TEXTS))] = old
        elif how == 5:
            other, other_key = holders[int(draw(_places) * len(holders))]
            try:
                holder[key] = copy.deepcopy(other[other_key])
            except (KeyError, IndexError):
                pass
        elif isinstance(old, str) and old:
            at = int(draw(_places) * len(old))
            holder[key] = old[:at] + draw(st.sampled_from([*"09azAZ./-_ :\n", ""])) + old[at + 1 :]
    return value


def _holders(value: Any) -> Any:
    rows = value.items() if isinstance(value, dict) else enumerate(value)
    if not isinstance(value, dict | list):
        return
    for key, inner in list(rows):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _holders(inner)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()
