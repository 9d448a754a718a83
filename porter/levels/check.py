"""``porter check``: rebuild every level of a port and compare it with the lock.

A report is data; :mod:`porter.report.terminal.check` prints it. An error in one port does not keep
the others from being checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from porter.errors import PorterError, SourceUnavailable
from porter.git.objects import Entry
from porter.git.quoting import show_path
from porter.levels.levels import Level, build_series, recall_levels
from porter.levels.lock import Lock, LockedLevel, lock_of, read_lock, submodule_problems
from porter.series.series import Patch, Series, load_series
from porter.upstream.pins import Pin, Pins
from porter.upstream.sources import level0_commit

if TYPE_CHECKING:
    from porter.levels.build import Stating, Step
    from porter.levels.diagnose import Offset, PatchFailure
    from porter.upstream.listed import ListedUpstream
    from porter.upstream.store import Upstream

Status = Literal["ok", "stated", "differs", "fails", "unjudged"]


@dataclass(frozen=True)
class PatchReport:
    """One patch and its status.

    ``differs``: from the lock. ``fails``: does not apply. ``unjudged``: it applies, but on top of a
    patch that failed, so its ids mean nothing. ``stated``: the ids it states are the lock's; no
    content was seen.
    """

    number: int
    level: str
    patch: str
    status: Status
    tree: str = ""
    commit: str = ""
    differences: tuple[str, ...] = ()
    failures: tuple[PatchFailure, ...] = ()
    offsets: tuple[Offset, ...] = ()
    files: int = 0
    not_covered: tuple[str, ...] = ()


@dataclass(frozen=True)
class PortReport:
    """One port. ``problems`` belong to no patch; ``error`` says why it was not checked at all.

    ``not_reachable`` says why no source serves it. Its patches are then judged by what they state,
    unless ``unstated`` says why that does not determine their ids.
    """

    port: str
    upstream: str
    patches: tuple[PatchReport, ...] = ()
    problems: tuple[str, ...] = ()
    error: PorterError | None = field(default=None, compare=False)
    from_memo: bool = False
    not_reachable: SourceUnavailable | None = field(default=None, compare=False)
    unstated: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing wrong was found; what was not checked is not wrong."""
        as_locked = all(p.status in ("ok", "stated") for p in self.patches)
        return self.error is None and not self.problems and as_locked

    @property
    def stated(self) -> bool:
        """Whether the ids were checked without seeing any content."""
        return self.not_reachable is not None and not self.unstated

    @property
    def not_covered(self) -> list[str]:
        """The files that no source covers although one answers; their ids are as stated."""
        return sorted({path for patch in self.patches for path in patch.not_covered})

    @property
    def complete(self) -> bool:
        """Whether the contents of all touched files were seen."""
        return self.error is None and self.not_reachable is None and not self.not_covered


def ports_to_check(pins: Pins, names: Sequence[str]) -> list[Pin]:
    """Return the named ports (all when none is named) and the companion ports they need."""
    chosen = [pins.port(name) for name in names] or list(pins.ports())
    having_series = {pin.name for pin in pins.ports()}
    beside = [pins.pins[name] for pin in chosen for name in pin.companions if name in having_series]
    return list({pin.name: pin for pin in (*chosen, *beside)}.values())


def check_port(root: Path, pins: Pins, pin: Pin, *, memo: bool = True) -> PortReport:
    """Rebuild one port's levels and compare. What is wrong with the port is in the report."""
    report = PortReport(pin.name, pin.commit or pin.tree)
    try:
        series = load_series(root, pin.name)
        lock = read_lock(root, pin.name)
        known = recall_levels(pin.tree, level0_commit(pin), series) if memo else None
        if known is not None:
            return replace(_compare(report, pins, pin, known, lock, ()), from_memo=True)
        return _rebuild(report, root, pins, pin, series, lock, memo)
    except PorterError as error:
        return replace(report, error=error)


def _rebuild(
    report: PortReport,
    root: Path,
    pins: Pins,
    pin: Pin,
    series: Series,
    lock: Lock | None,
    memo: bool,
) -> PortReport:
    """Judge the levels; without any content, from the pin's listing and the index lines."""
    from porter.upstream.listed import listed_upstream
    from porter.upstream.store import open_upstream

    upstream: Upstream | ListedUpstream | None
    stating: Stating = "uncovered"
    try:
        upstream = open_upstream(root, pin)
    except SourceUnavailable as error:
        if not error.away:
            raise
        report = replace(report, not_reachable=error)
        upstream, stating, memo = listed_upstream(root, pin), "always", False
    if upstream is None:
        reason = f"patches/{pin.name} has no upstream.listing and upstream.commit"
        return replace(report, unstated=reason)
    with upstream:
        try:
            built = build_series(upstream, series, stating=stating, recall=False, remember=memo)
            problems = submodule_problems(pins, pin, upstream.listing(), built.top)
            steps = [_with_hints(step, upstream) for step in built.steps]
        except SourceUnavailable as error:
            reachable = report.not_reachable or error
            return replace(report, not_reachable=reachable, unstated=error.reason)
    report = _compare(report, pins, pin, built.levels, lock, steps)
    return replace(report, problems=(*report.problems, *problems))


def _with_hints(step: Step, upstream: Upstream | ListedUpstream) -> Step:
    """Add to failures of a missing file where its content, or its name, is now."""
    if not any(failure.hunk is None and not failure.moved_to for failure in step.failures):
        return step
    listing = upstream.listing()
    wanted = {show_path(f.old_path): f for f in step.patch.diff.files if f.old_path is not None}
    step.failures = [
        replace(failure, moved_to=_elsewhere(wanted[failure.path].old_id, failure.path, listing))
        if failure.reason == "the file is not there" and failure.path in wanted
        else failure
        for failure in step.failures
    ]
    return step


def _elsewhere(old_id: str | None, path: str, entries: Mapping[bytes, Entry]) -> str | None:
    name = path.rpartition("/")[2]
    same = [p for p, entry in entries.items() if old_id and entry.oid.startswith(old_id)]
    named = [p for p in entries if show_path(p).rpartition("/")[2] == name]
    found = same or (named if len(named) == 1 else [])
    return show_path(found[0]) if found else None


def _compare(
    report: PortReport,
    pins: Pins,
    pin: Pin,
    levels: Sequence[Level],
    lock: Lock | None,
    steps: Sequence[Step],
) -> PortReport:
    """Compare the built levels (those below the first failure) and the steps with the lock."""
    problems = _pin_problems(pins, pin, levels, lock)
    rows = {row.name: row for row in lock.levels} if lock else {}
    patches: list[PatchReport] = []
    equal: Status = "ok" if report.not_reachable is None else "stated"
    for level in levels[1:]:
        assert level.patch is not None
        differences = _differences(level, level.patch, rows.get(level.name)) if lock else ()
        patches.append(
            PatchReport(
                level.number, level.name, level.patch.name, "differs" if differences else equal,
                level.tree, level.commit, tuple(differences), files=len(level.files),
                not_covered=tuple(show_path(path) for path in sorted(level.claimed)),
            )
        )  # fmt: skip
    for number, step in enumerate(steps, 1):
        if number < len(levels):
            at = patches[number - 1]
            patches[number - 1] = replace(at, offsets=tuple(step.offsets))
        else:
            status: Status = "fails" if step.failures else "unjudged"
            failures, offsets = tuple(step.failures), tuple(step.offsets)
            name = step.patch.level
            patches.append(
                PatchReport(
                    number, name, step.patch.name, status, failures=failures, offsets=offsets
                )
            )
    if lock is not None:
        problems += _order_problems([p.level for p in patches], lock)
    return replace(report, patches=tuple(patches), problems=tuple(problems))


def _pin_problems(pins: Pins, pin: Pin, levels: Sequence[Level], lock: Lock | None) -> list[str]:
    if lock is None:
        return [f"no levels.lock; `porter lock {pin.name}` writes it"]
    now = lock_of(pins, pin, levels[0].commit, levels[:1])
    problems = []
    for what, locked, is_now in (
        ("port", {"name": lock.port}, {"name": now.port}),
        ("upstream", lock.upstream, now.upstream),
        *((f"submodule {path}", lock.submodules.get(path, {}), pin_now)
          for path, pin_now in now.submodules.items()),
        *((f"companion {name}", lock.companions.get(name, {}), pin_now)
          for name, pin_now in now.companions.items()),
    ):  # fmt: skip
        for key in dict(is_now) | dict(locked):
            if locked.get(key) != is_now.get(key):
                problems.append(
                    f"{what}: {key} is {is_now.get(key, 'none')} in upstream_pins.yaml, "
                    f"{locked.get(key, 'none')} in levels.lock"
                )
    gone = [*(lock.submodules.keys() - now.submodules), *(lock.companions.keys() - now.companions)]
    return problems + [f"{name}: in levels.lock but not in upstream_pins.yaml" for name in gone]


def _differences(level: Level, patch: Patch, locked: LockedLevel | None) -> list[str]:
    if locked is None:
        return ["not in levels.lock"]
    found = [
        f"{what} is {now}, locked {then}"
        for what, now, then in (
            ("patch file", patch.name, locked.patch),
            ("patch sha256", patch.sha256, locked.sha256),
            ("tree", level.tree, locked.tree),
            ("commit", level.commit, locked.commit),
        )
        if now != then
    ]
    files = {show_path(path): blob for path, blob in level.files.items()}
    for path in sorted(files.keys() | locked.files.keys()):
        now, then = _state(files, path), _state(locked.files, path)
        if now != then:
            found.append(f"{path} is {now}, locked {then}")
    return found


def _state(files: Mapping[str, str | None], path: str) -> str:
    return "untouched" if path not in files else files[path] or "deleted"


def _order_problems(names: Sequence[str], lock: Lock) -> list[str]:
    locked = [row.name for row in lock.levels]
    if list(names) == locked:
        return []
    gone = [name for name in locked if name not in names]
    problems = [f"level {name} is in levels.lock but not in the series" for name in gone]
    if not problems and sorted(names) == sorted(locked):
        problems = [f"the levels' order is {', '.join(names)}, locked {', '.join(locked)}"]
    return problems
