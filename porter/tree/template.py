"""The template of a commit message in a tree: a patch's header, to be filled in.

``.git/porter/commit-template`` holds it. Only the tree itself uses it: git has no relative path
for it that a submodule or a linked work tree would find too, so ``includeIf`` names the tree.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from porter.atomic import write_atomic
from porter.series.header import DEVICES, FIELDS

TEMPLATE = "commit-template"
INCLUDE = '[includeIf "gitdir:.git"]\n\tpath = template-config\n'
"""The lines of the tree's configuration that bring the template in."""
_CONFIG = f'[core]\n\tcommentChar = "#"\n[commit]\n\ttemplate = .git/porter/{TEMPLATE}\n'
_LEVEL = re.compile(r"^Level:[ \t]*(\S+)", re.MULTILINE)
_HELP = f"""\
#
# The first line is the subject, then an empty line, then why, in a few sentences.
# Level: the level's name, lower-case words joined by '-'.
# Devices: which it is for, of {", ".join(DEVICES)}.
# Keeps: what stays as it is below, and the recipe that proves it.
# Gains: what is better than below, and the recipe that proves it.
# Origin: the published port or document that the change answers to.
# Forwarded: a URL, no, or not-needed.
"""


def template(values: Mapping[str, str]) -> str:
    """Return the template with ``values`` filled in: ``Subject``, ``Why`` and fields by name."""
    given = {"Forwarded": "not-needed", **{name: value for name, value in values.items() if value}}
    fields = "".join(f"{name}: {given.get(name, '')}".rstrip() + "\n" for name in FIELDS)
    return f"{given.get('Subject', '')}\n\n{given.get('Why', '')}\n\n{fields}{_HELP}"


def write_template(state_dir: Path, levels: Collection[str], text: str | None = None) -> None:
    """Write the template, or ``text``, into a tree's ``.git/porter``.

    One that was prepared for a level which the series does not hold yet stays, unless by ``text``.
    """
    path = state_dir / TEMPLATE
    if text is None:
        there = _LEVEL.findall(path.read_text("utf-8", "replace")) if path.is_file() else []
        if not there or there[0] in levels:
            write_atomic(path, template({}).encode())
    else:
        write_atomic(path, text.encode())
    write_atomic(state_dir / "template-config", _CONFIG.encode())
