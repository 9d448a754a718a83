"""Select the files of a tree that a run gets: the meaning of ``needs`` in a recipe.

``docs/recipes.md`` documents it. An entry is a folder (``src/``), a file, or a shell pattern
(``src/**/*.py``; ``*`` stays within a folder, ``**`` does not, and a pattern that ends in ``/``
matches folders); with a leading ``!`` it excludes. Without an including entry, everything that the
pin wants is included.

Files beside code (documentation, notebooks, pictures and other media, tests) are excluded unless an
entry names the file, its suffix (``docs/*.md``) or its folder (``tests/``). A run's tree holds
exactly the selected files and those that the port's series touches (which are part of every tree,
whatever ``needs`` says), so a run does not depend on which other files a source serves here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property

RULE = 2
"""Bump it when the same entries select other files: it is part of the keys of traces."""

MEDIA_SUFFIXES = frozenset({
    ".ipynb", ".pdf",
    ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".svg", ".ico",
    ".mp4", ".webm", ".avi", ".mov", ".mkv", ".mp3", ".wav", ".ogg", ".flac", ".mid",
})  # fmt: skip
BESIDE_SUFFIXES = MEDIA_SUFFIXES | {".md", ".mdx", ".rst"}
BESIDE_FOLDERS = frozenset({"doc", "docs", "test", "tests", ".github"})
BESIDE_NAMES = frozenset({
    "LICENSE", "LICENSE.txt", "LICENCE", "COPYING", "NOTICE", "AUTHORS", "CITATION.cff",
    ".gitignore", ".gitattributes", ".gitmodules",
})  # fmt: skip


@dataclass(frozen=True)
class Needs:
    """The entries of a recipe's ``needs``, in its order."""

    entries: tuple[str, ...] = ()
    _known: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def named(self) -> tuple[str, ...]:
        """The including entries."""
        return tuple(entry for entry in self.entries if not entry.startswith("!"))

    def takes(self, path: str) -> bool:
        """Return whether the file is needed.

        Without an including entry the caller must check whether the pin wants the file.
        """
        if path not in self._known:  # the levels of a port hold mostly the same paths
            self._known[path] = self._takes(path)
        return self._known[path]

    def _takes(self, path: str) -> bool:
        if any(_matches(entry[1:], path) for entry in self.entries if entry.startswith("!")):
            return False
        beside = _beside(path)
        if not self.named:
            return not beside
        return any(
            _matches(entry, path) and (not beside or _names_it(entry, path)) for entry in self.named
        )

    def may_take_inside(self, folder: str) -> bool:
        """Return whether a file in ``folder`` may be needed; False only where none can be."""
        return not self.named or any(_may_reach(entry, folder) for entry in self.named)

    def key(self) -> str:
        """Return a key that differs for needs that select different files."""
        return " ".join([str(RULE), *self.entries])


def wrong_entry(entry: str) -> str | None:
    """Return what is wrong with an entry, or None."""
    body = entry.removeprefix("!")
    parts = body.rstrip("/").split("/")
    if not body.strip("/"):
        return "an empty one"
    if body.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return "a path that is not plain and relative"
    if any("**" in part and part != "**" for part in parts):
        return "`**` that is not a whole part of the path"
    return None


def is_useful(entry: str, paths: Iterable[str], submodules: Iterable[str]) -> bool:
    """Return whether an entry selects, or with ``!`` takes out, any of the files of a port.

    ``paths`` are those of its levels; what is inside ``submodules`` is not known here.
    """
    body = entry.removeprefix("!")
    alone = Needs((body,))
    if any(alone.may_take_inside(path) for path in submodules):
        return True
    takes = alone.takes if body == entry else lambda path: _matches(body, path)
    return any(map(takes, paths))


def _beside(path: str) -> bool:
    *folders, name = path.split("/")
    suffix = "." + name.rpartition(".")[2].lower()
    return (
        suffix in BESIDE_SUFFIXES
        or name in BESIDE_NAMES
        or any(folder in BESIDE_FOLDERS for folder in folders)
    )


def _names_it(entry: str, path: str) -> bool:
    """Return whether an entry names the suffix, folder or file that puts a file beside code."""
    *folders, name = entry.split("/")
    if any(folder in BESIDE_FOLDERS for folder in folders) or entry.rstrip("/") == path:
        return True
    if name in BESIDE_FOLDERS:  # a folder without its slash
        return True
    return "." + name.rpartition(".")[2].lower() in BESIDE_SUFFIXES and "." in name


def _matches(entry: str, path: str) -> bool:
    return _compiled(entry).fullmatch(path) is not None


@cache
def _compiled(entry: str) -> re.Pattern[str]:
    """Compile an entry to an expression for whole paths."""
    folder = entry.endswith("/")
    parts = entry.rstrip("/").split("/")
    text = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            text += ".*" if last else "(?:.*/)?"
        else:
            text += _part(part) + ("" if last else "/")
    if folder:
        return re.compile(f"{text}/.*", re.DOTALL)
    is_pattern = any(char in entry for char in "*?[")
    return re.compile(text if is_pattern else f"{text}(?:/.*)?", re.DOTALL)


def _part(part: str) -> str:
    """Translate one part of a path: ``*``, ``?`` and ``[...]`` as in a shell."""
    text = ""
    at = 0
    while at < len(part):
        char = part[at]
        end = part.find("]", at + 2)
        if char == "[" and end > 0:
            inside = part[at + 1 : end].replace("\\", "\\\\")
            text += f"[{'^/' + inside[1:] if inside[0] in '!^' else inside}]"
            at = end
        else:
            text += {"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char))
        at += 1
    return text


def _may_reach(entry: str, folder: str) -> bool:
    """Return whether an entry could match a file in ``folder``, by their common parts."""
    parts, wanted = entry.rstrip("/").split("/"), folder.split("/")
    for part, name in zip(parts, wanted, strict=False):
        if part == "**":
            return True
        if not re.fullmatch(_part(part), name):
            return False
    is_folder = entry.endswith("/") or not any(char in entry for char in "*?[")
    return len(parts) > len(wanted) or is_folder
