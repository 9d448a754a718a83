"""Write migration logs from the traces of runs: one file per level and simulated device.

The runs are those of recipes with ``migration_log: true``. The entries of their traces
(:data:`porter.verify.harness.events.MIGRATION`) are merged per level and device, each call at each
line once, sorted by file and line. Only lines of the port's tree and its companions count: those of
installed libraries move with their versions, and probes are not part of the port. Free of torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from porter.device.sim.contract.releases import kind_of
from porter.errors import BadInput, CheckFailed
from porter.migrate.log import LogEntry, as_paragraph, summary
from porter.places import migration_logs_dir
from porter.verify.execution.scheduler import Runs
from porter.verify.harness.events import MIGRATION, read_lines
from porter.verify.plan.matrix import Failure, RecipePlan, RunSpec, run_specs
from porter.verify.plan.select import Plan

LOGGED = ("sim:hpu", "sim:npu")
"""Devices that serve CUDA calls in view of porter."""

_ELSEWHERE = ("/", "<", "probe/")


@dataclass(frozen=True)
class Log:
    """One level's log on one device."""

    port: str
    level: int
    level_name: str
    tree: str
    device: str
    recipes: tuple[str, ...]
    entries: tuple[LogEntry, ...]

    @property
    def name(self) -> str:
        """File name: "0-upstream.sim-hpu.txt"."""
        return f"{self.level}-{self.level_name}.{self.device.replace(':', '-')}.txt"

    def text(self) -> str:
        """The file's content; it holds no times and no absolute paths."""
        target = kind_of(self.device)
        head = [
            f"# {summary(target, self.entries)}",
            f"# Level {self.level} {self.level_name} of {self.port}, tree {self.tree},",
            f"# on {self.device} (simulated), in the runs of {', '.join(self.recipes)}.",
            "# CUDA calls of the port's tree and its companions, each site once.",
            f"# Written by `porter migration-log {self.port} --device {self.device}`.",
            "",
        ]
        return "\n".join([*head, *(as_paragraph(target, entry) for entry in self.entries)])


def logged_recipes(plan: Plan, devices: Sequence[str]) -> list[RecipePlan]:
    """Return the recipes of a plan that give logs on any of ``devices``.

    Raises BadInput without any.
    """
    found = [
        planned
        for planned in plan.recipes
        if planned.loaded.recipe.migration_log and set(planned.devices) & set(devices)
    ]
    if not found:
        raise BadInput(
            "no recipe for these ports and devices has `migration_log: true` with sim:hpu or "
            "sim:npu among its devices"
        )
    return found


def make_logs(recipes: Iterable[RecipePlan], devices: Sequence[str], runs: Runs) -> list[Log]:
    """Make the missing runs and merge their logs by port, level and device.

    Raises CheckFailed when a run fails: its log would be incomplete.
    """
    rows: dict[tuple[str, int, str, str, str], list[tuple[str, Path]]] = {}
    for planned in recipes:
        loaded = planned.loaded
        wanted = [
            spec
            for spec in run_specs(planned)
            if spec.device in devices and spec.level in planned.chosen and not spec.shaken
        ]
        for spec, folder in _folders(planned, wanted, runs).items():
            level = planned.levels[spec.level]
            log = loaded.port, level.number, level.name, level.tree, spec.device
            rows.setdefault(log, []).append((loaded.name, folder))
    return [
        Log(
            *log,
            recipes=tuple(sorted({name for name, _ in found})),
            entries=merged([read_lines(folder / MIGRATION) for _, folder in found]),
        )
        for log, found in sorted(rows.items())
    ]


def _folders(planned: RecipePlan, wanted: list[RunSpec], runs: Runs) -> dict[RunSpec, Path]:
    found = runs.folders(planned, wanted)
    for spec in wanted:
        outcome = found.get(spec, Failure("", "was not run: its reference failed", ""))
        if isinstance(outcome, Failure):
            loaded, level = planned.loaded, planned.levels[spec.level]
            raise CheckFailed(
                f"{loaded.port}/{loaded.name}: level {level.number} {level.name} on "
                f"{spec.device}: {outcome.reason}; `porter verify {loaded.port} --recipe "
                f"{loaded.name}` tells more"
            )
    return {spec: Path(str(folder)) for spec, folder in found.items()}


def merged(traces: Iterable[Iterable[Mapping[str, object]]]) -> tuple[LogEntry, ...]:
    """Return the entries of several runs' logs: lines of the tree only, each once, sorted."""
    found = set()
    for rows in traces:
        for row in rows:
            file = str(row["file"])
            if not file.startswith(_ELSEWHERE):
                names = ("line", "source", "kind", "asked", "served", "own_reading")
                kept = {name: row[name] for name in names}
                found.add(LogEntry(file, **kept))  # type: ignore[arg-type]
    return tuple(sorted(found, key=lambda e: (e.file, e.line, e.asked, e.served)))


def write_logs(root: Path, logs: Iterable[Log], devices: Sequence[str]) -> list[Path]:
    """Write the logs, delete those of removed levels; return the written files."""
    expected = _expected(root, logs)
    for path in _obsolete(expected, devices):
        path.unlink()
    for path, text in expected.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(expected)


def differences(root: Path, logs: Iterable[Log], devices: Sequence[str]) -> list[str]:
    """Return the difference of the files from the logs as unified diff lines; [] without any."""
    expected = _expected(root, logs)
    lines: list[str] = []
    for path in sorted({*expected, *_obsolete(expected, devices)}):
        there = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        now = expected.get(path, "").splitlines()
        shown = path.relative_to(root).as_posix()
        lines += difflib.unified_diff(there, now, f"{shown} (the file)", f"{shown} (now)", "", "")
    return [line.rstrip("\n") for line in lines]


def _expected(root: Path, logs: Iterable[Log]) -> dict[Path, str]:
    return {migration_logs_dir(root, log.port) / log.name: log.text() for log in logs}


def _obsolete(expected: Mapping[Path, str], devices: Sequence[str]) -> list[Path]:
    """Return log files of the same ports and devices that no run gives any more."""
    endings = tuple(f".{device.replace(':', '-')}.txt" for device in devices)
    folders = {path.parent for path in expected}
    return [
        path
        for folder in sorted(folders)
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.name.endswith(endings) and path not in expected
    ]
