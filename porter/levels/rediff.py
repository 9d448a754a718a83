"""Write diffs in the one form that every patch of a series has.

The form: full index lines, binary contents, renames found at git's default 50 %, as many lines of
context as the pin says (default three), no colour, no function-context driver, nothing of the
user's configuration. So exporting an unchanged series again changes no byte, and a patch in another
form is larger than needed or was made by another tool.
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
"""Options of ``git diff-tree``; run it without the user's configuration and attributes."""


_HEADING = re.compile(rb"^(@@ -[0-9,]+ \+[0-9,]+ @@).*$", re.MULTILINE)

CONTEXT = 3
"""Lines of context in a patch, unless the pin says another number."""


def export_options(context: int = CONTEXT) -> tuple[str, ...]:
    """Return :data:`EXPORT_OPTIONS` with a number of lines of context."""
    return (*EXPORT_OPTIONS, f"--unified={context}")


def export_diffs(
    scratch: Scratch, pairs: Sequence[tuple[Oid, Oid]], context: int = CONTEXT
) -> list[bytes]:
    """Return the diffs between pairs of trees, as porter exports them, in one git process."""
    if not pairs:
        return []
    request = "".join(f"{old} {new}\n" for old, new in pairs).encode()
    answer = scratch.git("diff-tree", "--stdin", *export_options(context), data=request)[1]
    if context < CONTEXT:  # the pin leaves little room to repeat the upstream's lines
        answer = _HEADING.sub(rb"\1", answer)
    diffs: list[bytes] = []
    at = 0
    for number, (old, new) in enumerate(pairs):
        head = f"{old} {new}\n".encode()
        if answer[at : at + len(head)] != head:  # git prints nothing for equal trees
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
