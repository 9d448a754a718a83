"""Arguments and environment of every git process that works on a tree.

A git hook may run porter, with ``GIT_DIR`` and ``GIT_INDEX_FILE`` set for another repository: every
git started here would then write into that one. So the variables that choose a repository, an index
or a diff are removed, messages are in the C locale, and no transport is allowed. Import-cost wall:
every move of a tree needs this (:mod:`porter.tree.fast_checkout`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

REMOTE = "upstream"
"""The name of a tree's remote: its upstream, as a partial clone."""

# Of git's variables only these pass: the user's configuration and identity, and tracing. The rest
# (`git rev-parse --local-env-vars`, and those that change diffs, pathspecs or new repositories) go.
_USERS_OWN = ("GIT_CONFIG_", "GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_EXEC_PATH", "GIT_TRACE")
_NOT_OURS = ("GIT_CONFIG_PARAMETERS",)  # `git -c` passes it to the hooks of one command

# Neither hooks nor the user's settings change how porter moves a tree.
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
"""Arguments of a move of a tree; the commit follows."""


def git_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment git runs in: the caller's without what misleads it, plus ``extra``."""
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
    """Return the options that name a work tree's repository and keep it from fetching.

    git must not search for it: from a damaged repository it would go on to the one around it.
    """
    return [
        f"--git-dir={git_dir or os.path.join(folder, '.git')}",
        f"--work-tree={folder}",
        "-c",
        f"remote.{REMOTE}.promisor=false",
    ]
