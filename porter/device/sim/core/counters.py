"""Counters: totals by name, and events with the line of user code they happened at.

Both are exact and the same on every machine. They say what a program requested of the device, never
how long it would have taken.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.interception.source_lines import Site, user_site


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the report: ``kind`` ("cpu_fallback", "host_sync", "h2d", ...), the op or call
    that caused it, the site, and a detail that is part of the event's identity."""

    kind: str
    what: str
    site: Site
    detail: str = ""


class Counters:
    """Totals and events of one simulated device.

    ``totals["h2d_bytes"]`` and the like are integers; ``events`` counts equal events, in order of
    first appearance.
    """

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self.events: dict[Event, int] = {}

    def add(self, name: str, amount: int = 1) -> None:
        """Add to a total, without an event."""
        self.totals[name] += amount

    def event(self, kind: str, what: str, detail: str = "", site: Site | None = None) -> Event:
        """Count one event of ``kind`` at the user's line, and add one to the total ``kind``."""
        event = Event(kind, what, site or user_site(2), detail)
        self.totals[kind] += 1
        self.events[event] = self.events.get(event, 0) + 1
        return event

    def of_kind(self, kind: str) -> dict[Event, int]:
        """Return the events of one kind with their counts."""
        return {event: count for event, count in self.events.items() if event.kind == kind}

    def reset(self) -> None:
        """Clear totals and events."""
        self.totals.clear()
        self.events.clear()

    def as_json(self, root: Path | None = None) -> dict[str, Any]:
        """Return totals and events as JSON-able data, with sites relative to ``root``."""
        return {
            "simulated": True,
            "totals": dict(sorted(self.totals.items())),
            "events": [
                {
                    "kind": event.kind,
                    "what": event.what,
                    "site": str(event.site.relative_to(root)),
                    "source": event.site.source,
                    "detail": event.detail,
                    "count": count,
                }
                for event, count in self.events.items()
            ],
        }
