"""Rebase the ports of this repository along the real history of their upstreams.

    python bench/rebase_history.py [SERIES ...] [--folder DIR]

For every row a fresh copy of a series, at its pin, is moved by what `porter rebase` calls. Printed
as Markdown: how many patches moved by themselves (the same bytes; moved, only their places differ;
changed by a clean merge), which was the first to conflict, and in how many of its files. Where the
series stops: how many patches come through when each one that conflicts is left out (`--skip`), and
how many of those that stand alone on the pin move when each is a series of its own.
Then the same step by step, each release from the one before it, as far as that goes.

Seconds are those of one call with the upstream in the store, without porter's start-up. The copies
have no companions and no alternates, so that no package index is asked. The upstreams are those of
the pins, over git: a clone named by `url.<clone>.insteadOf` in git's configuration serves as well.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from porter.editing.rebase import Rebased, continue_rebase, rebase  # noqa: E402
from porter.errors import CheckFailed, PorterError  # noqa: E402
from porter.levels.levels import build_series  # noqa: E402
from porter.series.series import load_series, read_patch, read_series_file  # noqa: E402
from porter.tree.apply import apply_port  # noqa: E402
from porter.tree.locked import hold_tree  # noqa: E402
from porter.upstream.gitfetch import list_refs  # noqa: E402
from porter.upstream.pins import load_pins  # noqa: E402
from porter.upstream.store import open_upstream  # noqa: E402


@dataclass(frozen=True)
class Case:
    """A series (all patches of a port, or some ``levels``) and the upstreams to move it to."""

    port: str
    levels: tuple[str, ...] = ()
    onto: tuple[str, ...] = ()
    url: str | None = None

    @property
    def title(self) -> str:
        return f"{self.port}: {', '.join(self.levels)} alone" if self.levels else self.port


CASES = {
    "diffusers": Case("diffusers", onto=("RELEASES",)),
    "fp32-bmm": Case("diffusers", ("fp32-bmm",), ("RELEASES",)),
    "fp32-norm": Case("diffusers", ("fp32-norm",), ("RELEASES",)),
    "flash-attention": Case("diffusers", ("flash-attention",), ("RELEASES",)),
    "v-diffusion": Case("v-diffusion", onto=("master",)),
    "stable-diffusion": Case(
        "stable-diffusion", onto=("main",), url="https://github.com/CompVis/stable-diffusion"
    ),
    "stable-diffusion-own": Case("stable-diffusion", onto=("main",)),
    "ddpm-from-scratch": Case("ddpm-from-scratch", onto=("main",)),
    "diffusion-from-scratch": Case("diffusion-from-scratch", onto=("master",)),
}


@dataclass(frozen=True)
class Row:
    """What one rebase did. ``moved`` is level -> same, moved or changed, below the conflict."""

    onto: str
    seconds: float
    moved: dict[str, str]
    conflict: str = ""
    files: tuple[str, ...] = ()
    more: int = 0
    error: str = ""

    def cells(self, many: int, of: int) -> list[str]:
        """Return the table's cells. ``many`` patches; the one in conflict has ``of`` files."""
        if self.error:
            return [self.onto, "", "", "", self.error, "", f"{self.seconds:.1f}"]
        counts = Counter(self.moved.values())
        names = [f"`{path.rpartition('/')[2]}`" for path in self.files[:2]]
        files = len(self.files) + self.more
        others = files - len(names)
        where = ", ".join(names) + (f" and {others} more" if others else "")
        where = f"{files} of {of}: {where}" if files else ""
        first = f"{self.conflict} ({len(self.moved) + 1} of {many})" if self.conflict else "none"
        numbers = [str(counts[word]) for word in ("same", "moved", "changed")]
        return [self.onto, *numbers, first, where, f"{self.seconds:.1f}"]


class Project:
    """Fresh copies of one series at its pin."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, folder
        source = ROOT / "patches" / case.port
        lines = read_series_file(source / "series")[0]
        self.patches = {read_patch(source / line.name).level: source / line.name for line in lines}
        self.levels = case.levels or tuple(self.patches)

    def copy(self, levels: Sequence[str]) -> Path:
        shutil.rmtree(self.folder, ignore_errors=True)
        port = self.case.port
        pins = yaml.safe_load((ROOT / "upstream_pins.yaml").read_text())["pins"]
        names = [port, *pins[port].get("submodules", {}).values()]
        for name in names:
            target = self.folder / "patches" / name
            target.mkdir(parents=True)
            for kind in ("upstream.listing", "upstream.commit"):
                if (file := ROOT / "patches" / name / kind).exists():
                    shutil.copy(file, target)
            pins[name].pop("companions", None)
            pins[name].pop("alternates", None)
        text = yaml.safe_dump({"version": 1, "pins": {name: pins[name] for name in names}})
        (self.folder / "upstream_pins.yaml").write_text(text)
        target = self.folder / "patches" / port
        files = [f"{number:04d}-{level}.patch" for number, level in enumerate(levels, 1)]
        for level, file in zip(levels, files, strict=True):
            shutil.copy(self.patches[level], target / file)
        (target / "series").write_text("".join(f"{file}\n" for file in files))
        return self.folder

    def rebase(self, onto: str, levels: Sequence[str] | None = None) -> Row:
        """Move a fresh copy; where it conflicts, once more with the patches below the conflict."""
        levels = self.levels if levels is None else levels
        row = self.step(onto, self.copy(levels))
        if row.conflict and (below := levels[: levels.index(row.conflict)]):
            moved = self.step(onto, self.copy(below)).moved
            row = Row(row.onto, row.seconds, moved, row.conflict, row.files, row.more)
        return row

    def step(self, onto: str, root: Path) -> Row:
        """Move the copy as it is."""
        start = time.perf_counter()
        try:
            done = rebase(None, root, self.case.port, onto, url=self.case.url, drop_merged=True)
        except CheckFailed as error:
            took = time.perf_counter() - start
            if found := re.search(r": (\S+) conflicts in (.*); nothing changed", str(error)):
                names = found[2].split(", ")
                more = re.fullmatch(r"and (\d+) more", names[-1])
                names = names[:-1] if more else names
                return Row(onto, took, {}, found[1], tuple(names), int(more[1]) if more else 0)
            return Row(onto, took, {}, error=str(error).rpartition(": ")[2])
        except PorterError as error:
            return Row(onto, time.perf_counter() - start, {}, error=str(error).partition(": ")[2])
        return Row(onto, time.perf_counter() - start, dict(done.levels))

    def standing_alone(self) -> list[str]:
        """Return the patches that apply to the pin without the others."""
        pins = load_pins(self.copy(self.levels))
        found = []
        for level in self.levels:
            series = load_series(self.copy([level]), self.case.port)
            with open_upstream(pins.root, pins.port(self.case.port)) as upstream:
                if build_series(upstream, series).broken(self.case.port) is None:
                    found.append(level)
        return found

    def through(self, onto: str) -> list[str]:
        """Return the levels that come through in a tree when each conflict is skipped."""
        root = self.copy(self.levels)
        tree = root.with_name("tree")
        shutil.rmtree(tree, ignore_errors=True)
        apply_port(root, self.case.port, tree)
        try:
            done = rebase(
                str(tree), root, self.case.port, onto, url=self.case.url, drop_merged=True
            )
        except CheckFailed:
            done = self._skip_all(tree)
        return [level for level, what in done.levels if what != "dropped"]

    def _skip_all(self, tree: Path) -> Rebased:
        while True:
            with hold_tree(tree, "rebase") as held:
                try:
                    return continue_rebase(held, skip=True)
                except CheckFailed as error:
                    if " conflicts in " not in str(error):
                        raise

    def files_of(self, level: str) -> int:
        return self.patches[level].read_text("utf-8", "replace").count("\ndiff --git ")


def releases(url: str) -> list[str]:
    """Return the tags after the pinned v0.18.1: v0.18.2, and the first of each minor release."""
    refs, _ = list_refs(url, "refs/tags/*")
    found = {re.fullmatch(r"refs/tags/v0\.(\d+)\.0", ref) for ref in refs}
    minor = [number for number in sorted(int(m[1]) for m in found if m) if number > 18]
    return ["v0.18.2", *(f"v0.{number}.0" for number in minor)]


def report(case: Case, folder: Path) -> Iterator[str]:
    project = Project(case, folder)
    pin = yaml.safe_load((ROOT / "upstream_pins.yaml").read_text())["pins"][case.port]
    onto = releases(pin["url"]) if case.onto == ("RELEASES",) else list(case.onto)
    many = len(project.levels)
    where = f" of {case.url}" if case.url else ""
    yield f"\n### {case.title}: {many} patch{'es' if many > 1 else ''}{where}\n"
    project.rebase(onto[-1])  # fetches
    alone = project.standing_alone()
    if many == 1 and not alone:
        yield "It does not apply to the pin without the patches below it."
        return
    yield "| onto | same | moved | changed | first conflict | files | seconds | skipping | alone |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for each in onto:
        project.rebase(each)  # fetches
        row = project.rebase(each)
        cells = row.cells(many, project.files_of(row.conflict) if row.conflict else 0)
        if row.conflict and many > 1:
            through = project.through(each)
            fit = [level for level in alone if project.rebase(each, [level]).moved]
            cells += [
                f"{len(names)} of {of}" + (f": {', '.join(names)}" if names else "")
                for names, of in ((through, many), (fit, len(alone)))
            ]
        yield "| " + " | ".join([*cells, "", ""][:9]) + " |"
    if len(onto) > 1:
        yield f"\nStep by step: {_steps(project, onto)}."


def _steps(project: Project, onto: Sequence[str]) -> str:
    root, reached = project.copy(project.levels), ""
    for each in onto:
        row = project.step(each, root)
        if row.conflict or row.error:
            what = f"{row.conflict} conflicts at {each}" if row.conflict else row.error
            return f"up to {reached}, then {what}" if reached else f"{what}, the first"
        reached = each
    return f"all the way to {reached}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("series", nargs="*", choices=[[], *CASES], help="default: all")
    parser.add_argument("--onto", action="append", help="only these (default: those of the series)")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    head = subprocess.run(["git", "version"], capture_output=True, text=True, check=True).stdout
    load = os.getloadavg()[0]
    print(f"{datetime.date.today()}, {head.strip()}, load {load:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(dir=args.folder) as top:
        os.environ.setdefault("PORTER_CACHE", str(Path(top) / "cache"))
        os.chdir(top)
        for name in args.series or CASES:
            case = replace(CASES[name], onto=tuple(args.onto)) if args.onto else CASES[name]
            for line in report(case, Path(top) / "project"):
                print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
