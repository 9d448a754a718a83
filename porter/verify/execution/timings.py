"""Where the time of a verification goes: spans of its own work, and the stages of its runs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from porter.verify.harness.stages import COMPUTING, FILE, PROBE_STAGE

RUN = "run"
_MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Span:
    """Some work of one kind; ``began`` and ``ended`` in seconds of :func:`time.monotonic`."""

    kind: str
    name: str
    began: float
    ended: float
    thread: int

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass
class Timings:
    """The spans of one verification. Thread-safe.

    ``stages`` are the seconds of all runs by stage; what the probes did is sampled.
    """

    began: float = field(default_factory=time.monotonic)
    spans: list[Span] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    _parts: list[Span] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def span(self, kind: str, name: str = "") -> Iterator[None]:
        """Time the block."""
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self.spans.append(Span(kind, name, began, time.monotonic(), threading.get_ident()))

    @contextmanager
    def run(self, name: str, folder: Path) -> Iterator[None]:
        """Time a run in its folder, and read its stages there."""
        began = time.monotonic()
        with self.span(RUN, name):
            yield
        with suppress(OSError, ValueError, KeyError):  # killed before it wrote them
            found = json.loads((folder / FILE).read_text(encoding="utf-8"))
            rows = [("starting", began), *((str(stage), at) for stage, at in found["stages"])]
            with self._lock:
                self._add_stages(rows, found["samples"])

    def _add_stages(self, rows: list[tuple[str, float]], samples: dict[str, int]) -> None:
        thread = threading.get_ident()
        for (stage, began), (_, ended) in pairwise(rows):
            self._parts.append(Span("stage", stage, began, ended, thread))
            shares = {stage: 1.0}
            if stage == PROBE_STAGE:
                total = sum(samples.values())
                shares = {what: n / total for what, n in samples.items()} or {COMPUTING: 1.0}
            for what, share in shares.items():
                self.stages[what] = self.stages.get(what, 0.0) + share * (ended - began)

    def seconds(self, kind: str) -> float:
        """Return the seconds of all spans of a kind."""
        return sum(span.seconds for span in self.spans if span.kind == kind)

    def kinds(self) -> list[str]:
        """Return the kinds of spans, in the order of their first."""
        return list(dict.fromkeys(span.kind for span in sorted(self.spans, key=lambda s: s.began)))

    def chrome_trace(self) -> str:
        """Return the spans as JSON of Chrome's trace event format, complete events ("X").

        Source: Trace Event Format (Google, 2016); chrome://tracing and ui.perfetto.dev read it.
        """
        lanes: dict[int, int] = {}
        events: list[dict[str, Any]] = []
        for span in sorted([*self.spans, *self._parts], key=lambda span: span.began):
            lane = lanes.setdefault(span.thread, len(lanes))
            event = {"name": span.name or span.kind, "cat": span.kind, "ph": "X", "pid": 1}
            event["ts"] = round((span.began - self.began) * _MICROSECONDS)
            event["dur"] = round(span.seconds * _MICROSECONDS)
            events.append({**event, "tid": lane})
        return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})


def timed(timings: Timings | None, kind: str, name: str = "") -> AbstractContextManager[None]:
    """Time a block, if anybody asked."""
    return timings.span(kind, name) if timings is not None else nullcontext()


def timed_run(timings: Timings | None, name: str, folder: Path) -> AbstractContextManager[None]:
    """Time a run, if anybody asked."""
    return timings.run(name, folder) if timings is not None else nullcontext()
