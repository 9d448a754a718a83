"""``porter diff``: differences between levels, and between a level and a folder, written by git.

The form is fixed (:data:`FORM`): the same for everyone, whatever the git configuration.
"""

from __future__ import annotations

from pathlib import Path

from porter.git.run import run_git
from porter.levels.rediff import export_options
from porter.tree.tree import find_tree, pick_level, project_of, tree_around

FORM = export_options()


def tree_difference(
    start: Path | str | None, a: str | None, b: str | None, stat: int | None
) -> bytes:
    """Return a diff in a tree: local edits, level ``a`` to the files, or ``a`` to ``b``."""
    tree = find_tree(start)
    levels = [str(pick_level(tree, text).commit) for text in (a, b) if text is not None]
    # Attributes and index.lock are the user's own: `git diff` against the files needs the former.
    verb = "diff-tree" if len(levels) == 2 else "diff-index"
    return tree.git("--no-optional-locks", verb, *_form(stat), *(levels or ["HEAD"]), "--").out


def level_difference(port: str, a: str, b: str, stat: int | None) -> bytes:
    """Build the levels of ``port`` into the store and return the diff between two of them."""
    from porter.tree.populate import build

    built = build(project_of(tree_around()), port)
    with built.upstream:
        one, other = (str(built.find(text).commit) for text in (a, b))
        git_dir = built.upstream.git_dir
        where = f"--git-dir={git_dir}"
        return run_git([where, "diff-tree", *_form(stat), one, other, "--"], cwd=git_dir).out


_MEANS_PATCH = ("--patch", "--binary", "--unified=")


def _form(stat: int | None) -> tuple[str, ...]:
    if stat is None:
        return ("-r", *FORM)
    return ("-r", f"--stat={stat}", *(word for word in FORM if not word.startswith(_MEANS_PATCH)))
