"""Hypothesis strategies: small trees with everything that makes patches hard, and edits of them."""

from __future__ import annotations

import os

from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("PORTER_EXAMPLES", "25"))
"""How many cases a property is tried on; hundreds take minutes, each runs git a dozen times."""

FILE, EXEC, LINK = 0o100644, 0o100755, 0o120000
Tree = dict[bytes, tuple[int, bytes]]

NAMES = (
    b"a", b"b", b"c d", b"e\tf", b'g"h', b"i\\j", b"\xff\xfe", "ü".encode(), b"k\nl", b"m", b"-n",
    b"o#p", b"q.txt", b"a.b", b".github",
)  # fmt: skip
LINES = (b"", b"x", b"y", b"z", b"  x", b"x ", b"\tq", b"@@ -1 +1 @@", b"-- ", b"--- a/a", b"\xff")


def paths() -> st.SearchStrategy[bytes]:
    part = st.sampled_from(NAMES)
    return st.lists(part, min_size=1, max_size=3).map(b"/".join)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Lines from a small alphabet (hunks become ambiguous), LF or CRLF, last newline or not."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from((b"", b"\n", b"\0\1binary\n", b"one\0\n" * 9, b"no newline")))
    lines = draw(st.lists(st.sampled_from(LINES), max_size=draw(st.sampled_from((3, 12, 40)))))
    end = draw(st.sampled_from((b"\n", b"\n", b"\n", b"\r\n")))
    numbered = draw(st.booleans())
    text = b"".join((b"%d " % n if numbered else b"") + line + end for n, line in enumerate(lines))
    return text[:-1] if text and draw(st.integers(0, 4)) == 0 else text


def _fits(tree: Tree, path: bytes) -> bool:
    """No file is where ``path`` needs a folder, nor the other way round."""
    return path not in tree and not any(
        other.startswith(path + b"/") or path.startswith(other + b"/") for other in tree
    )


@st.composite
def entries(draw: st.DrawFn) -> tuple[int, bytes]:
    mode = draw(st.sampled_from((FILE,) * 6 + (EXEC, EXEC, LINK)))
    if mode == LINK:
        return mode, draw(st.sampled_from((b"a", b"../b", b"/etc", b"c d/x")))
    return mode, draw(texts())


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    tree: Tree = {}
    for path in draw(st.lists(paths(), min_size=1, max_size=6)):
        if _fits(tree, path):
            tree[path] = draw(entries())
    return tree


@st.composite
def edited_text(draw: st.DrawFn, text: bytes) -> bytes:
    lines = text.split(b"\n")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines)))
        match draw(st.integers(0, 2)):
            case 0:
                lines[at:at] = draw(st.lists(st.sampled_from(LINES), max_size=3))
            case 1:
                del lines[at : at + draw(st.integers(1, 3))]
            case _:
                lines[at : at + 1] = [draw(st.sampled_from(LINES))]
    return b"\n".join(lines)


@st.composite
def edits(draw: st.DrawFn, tree: Tree) -> Tree:
    """``tree`` after a few of: edit, delete, rename, copy, mode change, new file, type change."""
    after = dict(tree)
    for _ in range(draw(st.integers(1, 4))):
        there = sorted(after)
        what = draw(st.sampled_from("eeeedrcmnt")) if there else "n"
        path = draw(st.sampled_from(there)) if there else b""
        mode, content = after.get(path, (FILE, b""))
        new = draw(paths())
        if what == "e" and mode != LINK:
            after[path] = mode, draw(edited_text(content))
        elif what == "d":
            del after[path]
        elif what == "m" and mode != LINK:
            after[path] = (FILE if mode == EXEC else EXEC), content
        elif what == "t":
            after[path] = draw(entries())
        elif what == "n" and _fits(after, new):
            after[new] = draw(entries())
        elif what in "rc":
            if what == "r":
                del after[path]
            if _fits(after, new):
                after[new] = mode, content if mode == LINK else draw(edited_text(content))
            else:
                after[path] = mode, content
    return after


def exports() -> st.SearchStrategy[tuple[str, ...]]:
    usual = ("--full-index", "--binary")
    return st.sampled_from(
        (usual, usual, (*usual, "-M"), (*usual, "-M"), (*usual, "-M", "-C", "-C"), ("-M",),
         (*usual, "-U0"), (*usual, "-U1"), (*usual, "-U9"), (*usual, "-D"), (*usual, "--no-prefix"))
    )  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn, patch: bytes) -> bytes:
    """``patch`` with one fault of the kind that mails, editors and people make."""
    lines = patch.split(b"\n")
    at = draw(st.integers(0, len(lines) - 1))
    match draw(st.integers(0, 9)):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case 2:
            lines[at] = lines[at].replace(b"x", b"y").replace(b"1", b"2")
        case 3:
            lines[at] = lines[at][1:]
        case 4:
            lines = lines[:at]
        case 5:
            lines.insert(at, draw(st.sampled_from(LINES)))
        case 6:
            lines = [line.rstrip(b" ") for line in lines]
        case 7:
            lines = [line.replace(b"a/a", b"a/../a").replace(b"b/a", b"b/../a") for line in lines]
        case 8:
            lines = [
                line.replace(b"a/a", b"a/.git/a").replace(b"b/a", b"b/.git/a") for line in lines
            ]
        case _:
            return patch.replace(b"\n", b"\r\n")
    return b"\n".join(lines)
