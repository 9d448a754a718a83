"""Replacing attributes of modules and classes so that all of it can be undone."""

from __future__ import annotations

from typing import Any

_ABSENT = object()


class Patches:
    """Attributes that were replaced, with what stood there before."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Replace ``owner.name``."""
        before = vars(owner).get(name, _ABSENT)
        setattr(owner, name, value)
        self._before.append((owner, name, before))

    def undo(self) -> None:
        """Put everything back, the latest first."""
        while self._before:
            owner, name, before = self._before.pop()
            if before is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
