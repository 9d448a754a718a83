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

_places = st.floats(0, 1, exclude_max=True)


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
        how, at, other = draw(st.integers(0, 14)), draw(_places), draw(_places)
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
