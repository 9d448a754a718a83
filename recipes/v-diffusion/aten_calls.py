"""Counting what a stretch of code asks of ATen, by operator name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class AtenCalls(TorchDispatchMode):
    """Counts operator calls under it; ``self.calls["native_layer_norm"]`` and so on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; torch need not import its compiler, two seconds, to be told."""
        return False

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self.calls[func.overloadpacket.__name__] += 1  # type: ignore[attr-defined]
        return func(*args, **(kwargs or {}))
