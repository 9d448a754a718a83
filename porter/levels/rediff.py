"""How porter writes a diff: the one form every patch of a series has.

Full index lines, binary contents, renames found at git's default 50 %, as many lines of context as
the pin says (three where it says nothing), no colour, no function-context driver, nothing of the
user's configuration. So exporting an unchanged series again changes no byte, and a patch that
differs from this form is bigger than it need be or was made by other means.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from porter.git.objects import Oid
from porter.levels.gitapply import Scratch

EXPORT_OPTIONS = (
    "--patch",
    "--binary",
    "--full-index",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-relative",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--line-prefix=",
    "--inter-hunk-context=0",
    "--diff-algorithm=myers",
    "--indent-heuristic",
    "--find-renames=50%",
    "-l0",
    "-O/dev/null",
    "--submodule=short",
    "--ignore-submodules=none",
)
"""Options of ``git diff-tree``; run it with no configuration and no attributes of the user's."""


_HEADING = re.compile(rb"^(@@ -[0-9,]+ \+[0-9,]+ @@).*$", re.MULTILINE)

CONTEXT = 3
"""Lines of context in a patch, unless the pin says another number."""


def export_options(context: int = CONTEXT) -> tuple[str, ...]:
    """Return :data:`EXPORT_OPTIONS` with a number of lines of context."""
    return (*EXPORT_OPTIONS, f"--unified={context}")


def least_text(diff: bytes, context: int) -> bytes:
    """Leave the upstream's line out of hunk headers where the pin wants less context than git's."""
    return diff if context >= CONTEXT else _HEADING.sub(rb"\1", diff)


def export_diffs(
    scratch: Scratch, pairs: Sequence[tuple[Oid, Oid]], context: int = CONTEXT
) -> list[bytes]:
    """Return the diffs between pairs of trees, as porter exports them, in one git process."""
    if not pairs:
        return []
    asked = "".join(f"{old} {new}\n" for old, new in pairs).encode()
    answer = scratch.git("diff-tree", "--stdin", *export_options(context), data=asked)[1]
    answer = least_text(answer, context)
    diffs: list[bytes] = []
    at = 0
    for number, (old, new) in enumerate(pairs):
        head = f"{old} {new}\n".encode()
        if answer[at : at + len(head)] != head:  # git says nothing about equal trees
            diffs.append(b"")
            continue
        at += len(head)
        end = len(answer)
        for later_old, later_new in pairs[number + 1 :]:
            found = answer.find(f"\n{later_old} {later_new}\n".encode(), at - 1)
            if found >= 0:
                end = found + 1
                break
        diffs.append(answer[at:end].lstrip(b"\n"))
        at = end
    return diffs
