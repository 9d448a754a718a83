"""``habana_frameworks.torch.hpu.metrics``: the vendor's metrics, from the simulator's counters.

Times are 0: the simulator counts compilations but measures no time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from porter.device.sim.accounting.ledger import accounting_of

Value = int | float | str
Stats = list[tuple[str, Value]]


_METRICS = ("graph_compilation", "cpu_fallback", "recipe_cache", "memory_defragmentation")


def _read(name: str) -> dict[str, Value]:
    if name not in _METRICS:
        raise KeyError(f"no metric {name!r}: expected one of {', '.join(_METRICS)}")
    accounting = accounting_of("hpu")
    if accounting is None:
        raise RuntimeError("metrics: sim:hpu is not active in this process")
    graphs = accounting.graphs
    hits, compilations = (0, 0) if graphs is None else (graphs.cache_hits, graphs.compilations)
    if name == "graph_compilation":
        return {"TotalNumber": compilations, "TotalTime": 0, "AvgTime": 0.0}
    if name == "cpu_fallback":
        events = accounting.counters.of_kind("cpu_fallback")
        ops = sorted({event.what for event in events})
        return {"TotalNumber": sum(events.values()), "FallbackOps": ",".join(ops)}
    if name == "recipe_cache":
        return {"TotalHit": hits, "TotalMiss": compilations}
    return {"TotalNumber": 0, "TotalSuccessful": 0, "TotalTime": 0, "AvgTime": 0.0, "MaxTime": 0}


class Metric:
    """One metric, counted since this object was made or reset."""

    def __init__(self, name: str, since: dict[str, Value] | None = None) -> None:
        self.name = name
        self._since = since or {}
        self._until: dict[str, Value] | None = None

    def stats(self) -> Stats:
        """Return pairs of name and value."""
        now = _read(self.name) if self._until is None else self._until
        return [(key, _since(value, self._since.get(key))) for key, value in now.items()]

    def reset(self) -> None:
        """Restart the count at zero."""
        self._since, self._until = _read(self.name), None

    def close(self) -> None:
        """Stop counting."""
        self._until = _read(self.name)


def _since(value: Value, earlier: Value | None) -> Value:
    if isinstance(value, str):
        before = set(str(earlier or "").split(","))
        return ",".join(op for op in value.split(",") if op not in before)
    return value - earlier if isinstance(earlier, int | float) else value


def metric_global(name: str) -> Metric:
    """Return a metric counted since the process began."""
    _read(name)
    return Metric(name)


@contextlib.contextmanager
def metric_localcontext(name: str) -> Iterator[Metric]:
    """Count a metric inside a ``with`` block."""
    metric = Metric(name, _read(name))
    try:
        yield metric
    finally:
        metric.close()
