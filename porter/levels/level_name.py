"""Find the level that a user names by number, name or prefix.

Import-cost wall: moving a tree needs this and must not import :mod:`porter.levels.levels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from porter.errors import BadInput


class Named(Protocol):
    """Anything with a level's name; its index in the sequence is its number."""

    @property
    def name(self) -> str: ...


L = TypeVar("L", bound=Named)


def find_level(levels: Sequence[L], text: str) -> L:
    """Return the level that ``text`` names: a number, a name, or a unique prefix of one.

    Raises BadInput, with the nearest name, when there is none or more than one.
    """
    if text.isdecimal() and text.isascii():
        if int(text) < len(levels):
            return levels[int(text)]
        raise BadInput(f"no level {text}; the last is {len(levels) - 1} ({levels[-1].name})")
    by_name = {level.name: level for level in levels}
    if text in by_name:
        return by_name[text]
    starting = [level for level in levels if text and level.name.startswith(text)]
    if len(starting) == 1:
        return starting[0]
    if starting:
        names = ", ".join(level.name for level in starting)
        raise BadInput(f"level {text!r} matches {names}; type more of the name, or the number")
    near = _nearest(text, list(by_name))
    hint = f"did you mean {near!r}?" if near else f"the levels are {', '.join(by_name)}"
    raise BadInput(f"no level {text!r}; {hint}")


def _nearest(text: str, names: list[str]) -> str | None:
    """Return the name closest to ``text``: by the whole, its beginning or one of its words."""
    import difflib

    spelled: dict[str, str] = {}
    for name in names:
        words = name.split("-")
        for start in range(len(words)):
            rest = "-".join(words[start:])
            for piece in (rest, rest[: len(text)], words[start]):
                spelled.setdefault(piece.lower(), name)
    near = difflib.get_close_matches(text.lower(), spelled, n=1, cutoff=0.6)
    return spelled[near[0]] if near else None
