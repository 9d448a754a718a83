"""What every git process of porter's is started with: sealed variables and fixed settings.

A command of porter's may itself be run by a git hook, where ``GIT_DIR`` and ``GIT_INDEX_FILE``
point at another repository: every git started here would then write into that one. So the variables
that choose a repository, an index or a diff are taken out, messages are in the C locale, and no
transport is open. Light on imports: every move of a tree needs this
(:mod:`porter.tree.fast_checkout`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

REMOTE = "upstream"
"""The name of a tree's remote: its upstream, as a partial clone."""

# Of git's variables only these pass: the user's configuration and identity, and tracing. The rest
# (`git rev-parse --local-env-vars`, and what bends a diff, a pathspec or a new repository) goes.
_USERS_OWN = ("GIT_CONFIG_", "GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_EXEC_PATH", "GIT_TRACE")
_NOT_OURS = ("GIT_CONFIG_PARAMETERS",)  # what `git -c` hands to the hooks of one command

# Hooks and the user's habits have no say in how porter moves a tree.
_QUIET = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "advice.detachedHead=false",
    "submodule.recurse=false",
    "gc.auto=0",
    "maintenance.auto=false",
)
CHECKOUT = ("checkout", "--detach", "--quiet", "--no-overwrite-ignore")
"""A move of a tree, but for the commit."""


def git_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment git runs in: the caller's, sealed, plus ``extra``."""
    sealed = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("GIT_") or (key.startswith(_USERS_OWN) and key not in _NOT_OURS)
    }
    sealed.pop("LANGUAGE", None)
    sealed.update(LC_ALL="C", GIT_NO_LAZY_FETCH="1", GIT_ALLOW_PROTOCOL="none")
    sealed.update(extra or {})
    return sealed


def git_command(*args: str) -> list[str]:
    """Return the command line of a git process."""
    return ["git", *(word for setting in _QUIET for word in ("-c", setting)), *args]


def tree_arguments(folder: str, git_dir: str | None = None) -> list[str]:
    """Return the options that name a work tree's repository outright, and keep it from fetching.

    Never discovered: a damaged repository must not make git go on to the one around it.
    """
    return [
        f"--git-dir={git_dir or os.path.join(folder, '.git')}",
        f"--work-tree={folder}",
        "-c",
        f"remote.{REMOTE}.promisor=false",
    ]
