"""Find the level that a user names by number, name or prefix.

Import-cost wall: moving a tree needs this and must not import :mod:`porter.levels.levels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from porter.errors import BadInput, CheckFailed


class Named(Protocol):
    """Anything with a level's name; its index in the sequence is its number."""

    @property
    def name(self) -> str: ...


L = TypeVar("L", bound=Named)


@dataclass(frozen=True, slots=True)
class Broken:
    """The levels that do not exist: that of the first patch that fails, and all above it.

    ``off`` says by name which of them are off by default, ``why`` which patch fails and what to do.
    """

    off: dict[str, bool]
    why: str

    def refusal(self, last: str, number: int) -> CheckFailed:
        """Return the error for one of these levels; ``last`` names the last level that exists."""
        return CheckFailed(f"{self.why}; the last level that applies is {number} ({last})")


def find_level(levels: Sequence[L], text: str, broken: Broken | None = None) -> L:
    """Return the level that ``text`` names: a number, a name, or a unique prefix of one.

    Raises BadInput, with the nearest name, when there is none or more than one, and CheckFailed for
    one of the ``broken`` levels, which follow on ``levels``.
    """
    return levels[find_number([level.name for level in levels], text, broken)]


def find_number(names: Sequence[str], text: str, broken: Broken | None = None) -> int:
    """As :func:`find_level`, of levels known by name alone; return the level's number."""
    number = _number([*names, *(broken.off if broken else ())], text)
    if broken is not None and number >= len(names):
        raise broken.refusal(names[-1], len(names) - 1)
    return number


def _number(names: Sequence[str], text: str) -> int:
    if text.isdecimal() and text.isascii():
        if int(text) < len(names):
            return int(text)
        raise BadInput(f"no level {text}; the last is {len(names) - 1} ({names[-1]})")
    if text in names:
        return names.index(text)
    starting = [number for number, name in enumerate(names) if text and name.startswith(text)]
    if len(starting) == 1:
        return starting[0]
    if starting:
        matching = ", ".join(names[number] for number in starting)
        raise BadInput(f"level {text!r} matches {matching}; type more of the name, or the number")
    near = _nearest(text, names)
    hint = f"did you mean {near!r}?" if near else f"the levels are {', '.join(names)}"
    raise BadInput(f"no level {text!r}; {hint}")


def _nearest(text: str, names: Sequence[str]) -> str | None:
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
