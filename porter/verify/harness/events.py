"""Write the events of a run: one JSON object per line, in ``events.jsonl`` of its trace.

=============  ===================================================================================
``kind``       further keys
=============  ===================================================================================
device event   ``kind`` is the counter's name (``cpu_fallback``, ``host_sync``, ``h2d``, ...);
               ``what`` (the op or call), ``site`` ("file:line"), ``source`` (that line), ``detail``
               (words), ``count`` (how often, at this site)
compilation    ``number``, ``ops``, ``why`` (what ended the graph), ``site`` (where), ``nearest``
               (the number of the most similar earlier graph, or null), ``differs`` (the
               differences from it, in words), ``from_disk``
dispatch       ``what`` (an op), ``count`` (runs on the device)
section        ``name``, ``per`` (steps), ``entered`` (times)
script         ``what`` (the command line), ``exit_code``
launch         ``what`` (the command line), ``exit_code``
warning        ``what`` (words)
=============  ===================================================================================

``site`` is relative to the level's tree; ``companion NAME/file:line`` in a companion's tree,
``probe/file:line`` in the probe's folder, and otherwise absolute. Events of a launched process also
have ``process`` (1, 2, ...) and, if it has one, its ``rank``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from porter.device import Device, open_device
from porter.verify.harness.counters import TOTALS, migration_log

EVENTS = "events.jsonl"
MIGRATION = "migration.jsonl"

Event = dict[str, Any]

PROBE = "probe"
"""The name shown for the probe's folder."""

_MIGRATING = ("hpu", "npu")
"""Simulated device types that run CUDA calls, which are logged."""


def shown_site(site: str, roots: Mapping[Path, str]) -> str:
    """Return "FILE:LINE" with a folder of ``roots`` replaced by its shown name ("": left out)."""
    for root, shown in roots.items():
        start = f"{root.as_posix().rstrip('/')}/"
        if site.startswith(start):
            rest = site.removeprefix(start)
            return f"{shown}/{rest}" if shown else rest
    return site


def of_device(device: Device, roots: Mapping[Path, str]) -> list[Event]:
    """Return the events of a simulated device; none for a real one."""
    counted = device.counters()
    if not counted["simulated"]:
        return []
    found: list[Event] = []
    for event in counted["events"]:
        kind = TOTALS.get(event["kind"], event["kind"])
        found.append(event | {"kind": kind, "site": shown_site(event["site"], roots)})
    for each in counted.get("graphs", {}).get("compiled", ()):
        differs = [_shorten(words, roots) for words in each["differs"]]
        site = shown_site(each["ended"], roots)
        rest = {key: each[key] for key in ("number", "ops", "why", "nearest", "from_disk")}
        found.append({"kind": "compilation", **rest, "site": site, "differs": differs})
    for op, count in counted["dispatched"]["by_op"].items():
        found.append({"kind": "dispatch", "what": op, "count": count})
    return found


def _shorten(words: str, roots: Mapping[Path, str]) -> str:
    """Shorten the file names in "... at FILE:LINE: ..."."""
    for root, shown in roots.items():
        start = f" at {root.as_posix().rstrip('/')}/"
        words = words.replace(start, f" at {shown}/" if shown else " at ")
    return words


def open_logged_device(name: str, tree: Path) -> Device:
    """Return a device with its plugin imported, or its simulation started.

    CUDA calls that a simulated device runs are logged until this process ends. Raises BadInput.
    """
    device = open_device(name)
    if name.startswith("sim:") and device.kind in _MIGRATING:
        from porter.migrate.migration import logging_to

        logging = logging_to(None, target=device.kind, root=tree)
        logging.__enter__()
        _references.append(logging)  # its destructor would switch the migration off
    device.prepare()
    return device


_references: list[object] = []


def migration_lines(roots: Mapping[Path, str]) -> list[str]:
    """Return this process's migration log as JSON lines (:mod:`porter.migrate.log`)."""
    log = migration_log()
    found = []
    for line in log.as_json_lines().splitlines() if log is not None else ():
        row = json.loads(line)
        row["file"] = shown_site(f"{row['file']}:0", roots).removesuffix(":0")
        found.append(json.dumps(row, ensure_ascii=False))
    return found


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines to a file; no file if there are none."""
    text = "".join(f"{line}\n" for line in lines)
    if text:
        path.write_text(text, encoding="utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file; none if there is no file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
