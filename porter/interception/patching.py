"""Replace attributes of torch while a simulation runs, and put them back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.jit import _builtins

_ABSENT = object()


class TensorProperty(property):
    """A property for ``torch.Tensor``.

    PyTorch 2.5, as it imports Dynamo, asks each getter of a tensor for its ``__objclass__``, which
    the attributes of C++ have and Python's properties lack.
    """

    __objclass__ = property


class Patches:
    """The attributes that were replaced, and other undo steps, in order."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def replace(self, owner: Any, name: str, value: Any) -> Any:
        """Set ``owner.name`` and return its value before, inherited or not."""
        before = getattr(owner, name, None)
        own = vars(owner).get(name, _ABSENT)

        def restore() -> None:
            if own is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, own)

        if callable(before):
            # TorchScript looks torch's functions up by identity.
            builtin = _builtins._find_builtin(before)
            if builtin is not None:
                _builtins._register_builtin(value, builtin)
                table = _builtins._get_builtin_table()
                self.later(lambda: table.pop(id(value), None))
        setattr(owner, name, value)
        self._undo.append(restore)
        return before

    def later(self, step: Callable[[], None]) -> None:
        """Run ``step`` when the patches are undone."""
        self._undo.append(step)

    def undo(self) -> None:
        """Put everything back, last first."""
        while self._undo:
            self._undo.pop()()
