"""Find which ports can be checked and verified here, and what would make more of them reachable.

It starts from which sources answer (``porter doctor`` asks each of them once). If all pins that a
port needs answer, nothing is fetched. Otherwise it looks into the store, reads the source releases
that answer, which are small, and plans the recipes on that; no tree is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from porter.errors import PorterError
from porter.places import recipes_dir
from porter.upstream.failure import SourceFailure
from porter.upstream.listed import listed_upstream
from porter.upstream.pins import GitSource, Pin, Pins, Sdist
from porter.upstream.store import open_upstream
from porter.verify.plan.port_trees import Silent, UpstreamTrees
from porter.verify.plan.select import Filters, Unreachable, make_plan
from porter.verify.plan.trees import NotReachable

Answers = Mapping[str, Mapping[GitSource | Sdist, SourceFailure | None]]
"""Pin -> source -> why it does not answer; None if it does."""

Checked = Literal["all", "part", "ids", "nothing"]


@dataclass(frozen=True)
class PortReach:
    """How much of a port can be checked and how many of its recipes can run.

    ``files`` is the number of files that its patches touch and no source serves; ``reason`` says
    why not everything is in reach.
    """

    port: str
    checked: Checked
    files: int
    recipes: int
    reachable: int
    reason: str = ""

    @property
    def whole(self) -> bool:
        """Whether all of it can be checked and verified."""
        return self.checked == "all" and self.reachable == self.recipes


def reach_of_ports(
    root: Path, pins: Pins, answers: Answers, *, offline: bool = False
) -> list[PortReach]:
    """Return how much of each port with a series is within reach."""
    silent = {
        name: {source: why for source, why in sources.items() if why is not None}
        for name, sources in answers.items()
    }
    known = {name for name in pins.pins if not offline and _answers_whole(pins, name, answers)}
    unknown = [pin for pin in pins.ports() if not {p.name for p in _needed(pins, pin)} <= known]
    found: dict[str, PortReach] = {}
    with closing(UpstreamTrees(root, pins, planning=True, silent=silent, offline=offline)) as trees:
        if not offline:
            _read_releases(root, pins, unknown, silent)
        for pin in unknown:
            found[pin.name] = _planned(root, pin, trees)
    return [
        found.get(pin.name) or PortReach(pin.name, "all", 0, n := _recipes(root, pin), n)
        for pin in pins.ports()
    ]


def what_would_help(pins: Pins, reaches: Iterable[PortReach], answers: Answers) -> list[str]:
    """Return a line for each host that does not answer: how to reach it, and for which ports."""
    lacking: dict[str, list[str]] = {}
    for reach in reaches:
        if reach.whole:
            continue
        for pin in _needed(pins, pins.pins[reach.port]):
            for source, why in answers.get(pin.name, {}).items():
                if why is not None and source in pin.sources[:1]:
                    ports = lacking.setdefault(_way_to(source), [])
                    ports += [reach.port] * (reach.port not in ports)
    return [f"{way} (for {', '.join(ports)})" for way, ports in lacking.items()]


def _way_to(source: GitSource | Sdist) -> str:
    if isinstance(source, Sdist):
        return "a package index: `pip config set global.index-url <index>`"
    parts = urlsplit(source.url)
    if not parts.hostname:
        return f"a git repository at {parts.path}"
    base = f"{parts.scheme}://{parts.netloc}/"
    return f"{parts.hostname}, or a mirror: `git config --global url.<mirror>.insteadOf {base}`"


def _needed(pins: Pins, pin: Pin) -> list[Pin]:
    return [pin, *pins.beside(pin)]


def _answers_whole(pins: Pins, name: str, answers: Answers) -> bool:
    """Whether a source answers that has all files of the pin."""
    pin = pins.pins[name]
    return any(
        why is None
        and (source == pin.sdist or (isinstance(source, GitSource) and source.commit == pin.commit))
        for source, why in answers.get(name, {}).items()
    )


def _recipes(root: Path, pin: Pin) -> int:
    return len(list(recipes_dir(root, pin.name).glob("*.yaml")))


def _read_releases(root: Path, pins: Pins, ports: Iterable[Pin], silent: Silent) -> None:
    """Bring the releases for these ports into the store, in parallel: pip is slow to start."""

    def read(pin: Pin) -> None:
        with suppress(PorterError):
            open_upstream(root, pin, silent=silent.get(pin.name)).close()

    needed = {pin.name: pin for port in ports for pin in _needed(pins, port)}
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(read, needed.values()))


def _planned(root: Path, pin: Pin, trees: UpstreamTrees) -> PortReach:
    recipes = _recipes(root, pin)
    try:
        levels = trees.levels(pin.name)
    except NotReachable as error:
        return PortReach(pin.name, _by_ids(root, pin), 0, recipes, 0, str(error))
    except PorterError as error:
        return PortReach(pin.name, "nothing", 0, recipes, 0, str(error))
    files = len({path for level in levels for path in level.claimed})
    checked: Checked = "part" if files else "all"
    if not recipes:
        return PortReach(pin.name, checked, files, 0, 0)
    try:
        plan = make_plan(root, [pin.name], trees, Filters())
    except PorterError as error:
        return PortReach(pin.name, checked, files, recipes, 0, str(error))
    reason = _commonest(plan.unreachable)
    return PortReach(pin.name, checked, files, recipes, len(plan.recipes), reason)


def _by_ids(root: Path, pin: Pin) -> Checked:
    try:
        return "nothing" if listed_upstream(root, pin) is None else "ids"
    except PorterError:
        return "nothing"


def _commonest(unreachable: Iterable[Unreachable]) -> str:
    """Return the reason that most recipes share, without the files that each lacks."""
    reasons = [one.reason.rpartition(": ")[2] for one in unreachable]
    return max(reasons, key=reasons.count, default="")
