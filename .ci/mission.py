#!/usr/bin/env python3
"""Check that docs/mission.md is what docs/mission.yaml gives, and what that says; --write updates.

The data names every item of the documents that the ports answer to, with the levels and the recipes
that show it. No state is written down but that an item needs a card. An item's state is

    recipe        every named recipe is there, runs at one of the item's levels and makes a claim
                  there, and each of the levels has such a recipe
    needs a card  the item says why only a card can show it
    no recipe     anything else; the data lists these items under `red`, each with its reason

Options, scripts, commands and variables that name a recipe have `names` too: each must stand in a
line that the port's patches add up to the item's last level and do not take back, or in a named
recipe or a file of its probe.

Exit codes: 0 all is well (or the page was written), 1 something differs, 2 the data is broken.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from porter.errors import BadInput
from porter.series.series import Patch, load_series
from porter.verify.recipe.claims import LevelRange, LevelSelection, Model
from porter.verify.recipe.load import LoadedRecipe, load_recipe
from porter.verify.recipe.probe_files import probe_files
from porter.yamlfile import load

CHECKOUT = Path(__file__).resolve().parent.parent
DATA = Path("docs/mission.yaml")
PAGE = Path("docs/mission.md")

Text = Annotated[str, Meta(min_length=1, description="a text")]
Kind = Literal[
    "modification",
    "feature",
    "option",
    "script",
    "command",
    "variable",
    "issue",
    "faq",
    "configuration",
    "result",
]
TITLES: dict[Kind, str] = {
    "modification": "Modifications",
    "feature": "Features",
    "option": "Options",
    "script": "Scripts",
    "command": "Commands",
    "variable": "Environment variables",
    "issue": "Known issues",
    "faq": "FAQ",
    "configuration": "Configurations",
    "result": "Results",
}
NAMED = ("option", "script", "command", "variable")
RECIPE, CARD, RED = STATES = ("recipe", "needs a card", "no recipe")


class Item(Model, frozen=True):
    """One item of a document. A recipe is a name, with ``#PATTERN`` the pattern of its claim."""

    item: Text
    kind: Kind
    port: Text | None = None
    levels: tuple[Text, ...] = ()
    recipes: tuple[Text, ...] = ()
    names: tuple[Text, ...] = ()
    card: Text | None = None
    note: Text | None = None


class Source(Model, frozen=True):
    """A published document and its items; ``port`` is that of items which name no other."""

    title: Text
    port: Text
    source: Text
    items: tuple[Item, ...]


class Red(Model, frozen=True):
    """An item that no recipe shows, and why."""

    document: Text
    item: Text
    reason: Text


class Mission(Model, frozen=True):
    """The file docs/mission.yaml."""

    version: Annotated[int, Meta(ge=1, le=1, description="1 (the format's version)")]
    documents: dict[str, Source]
    red: tuple[Red, ...]


class Port:
    """The levels, patches and recipes of a port."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.recipes = root / "recipes" / name
        self.patches: tuple[Patch, ...] = load_series(root, name).patches
        self.levels = ["upstream", *(patch.level for patch in self.patches)]
        self.off = {patch.level for patch in self.patches if patch.off}

    @cache  # noqa: B019 - as long as the one run
    def recipe(self, name: str) -> LoadedRecipe | None:
        """Return a recipe, or None where there is no such file."""
        path = self.recipes / f"{name}.yaml"
        return load_recipe(path) if path.is_file() else None

    @cache  # noqa: B019
    def recipe_text(self, name: str) -> str:
        """Return the text of a recipe and of the files of its probe."""
        loaded = self.recipe(name)
        paths = [loaded.path, *probe_files(loaded)] if loaded else []
        return "\n".join(path.read_text(encoding="utf-8") for path in paths)

    def selected(self, selection: LevelSelection) -> set[str]:
        """Return the levels that a recipe or a claim selects, as ``porter verify`` reads it."""
        if selection == "all":
            return set(self.levels) - self.off
        if isinstance(selection, LevelRange):
            first = 0 if selection.first is None else self._number(selection.first)
            last = len(self.levels) if selection.last is None else self._number(selection.last)
            return set(self.levels[first : last + 1]) - self.off
        return {self.levels[self._number(each)] for each in selection}

    def _number(self, level: str | int) -> int:
        return self.levels.index(level) if level in self.levels else int(level)

    @cache  # noqa: B019
    def added_text(self, level: str) -> str:
        """Return the lines, and the names of files, that the patches add up to a level."""
        lines: Counter[str] = Counter()
        for patch in self.patches[: self.levels.index(level)]:
            text = patch.raw.decode("utf-8", "replace").partition("\ndiff --git ")[2]
            for line in text.split("\n"):
                if line.startswith("+++ b/"):
                    lines[line.removeprefix("+++ b/")] += 1
                elif line.startswith("+"):
                    lines[line[1:]] += 1
                elif line.startswith("-") and lines[line[1:]]:
                    lines[line[1:]] -= 1
        return "\n".join(+lines)


class Project:
    """What the data is held to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ports: dict[str, Port] = {}

    def port(self, source: Source, item: Item) -> Port | None:
        name = item.port or source.port
        if name not in self.ports and (self.root / "patches" / name / "series").is_file():
            self.ports[name] = Port(self.root, name)
        return self.ports.get(name)

    @cache  # noqa: B019
    def wrong(self, source: Source, item: Item) -> tuple[str, ...]:
        """Return what the data says of an item that is not so."""
        return tuple(self._wrong(source, item))

    def _wrong(self, source: Source, item: Item) -> Iterator[str]:
        port = self.port(source, item)
        if port is None:
            yield f"port: expected a port, found {item.port or source.port}"
            return
        if unknown := [level for level in item.levels if level not in port.levels]:
            yield f"levels: expected levels of {port.name}, found {', '.join(unknown)}"
            return
        if not item.recipes:
            return
        if not item.levels:
            yield "levels: expected those that the recipes show, found none"
            return
        covered: set[str] = set()
        absent = 0
        for text in item.recipes:
            found = _claimed_levels(port, item, *text.partition("#")[::2])
            if isinstance(found, str):
                absent += 1
                yield f"recipes: {text}: {found}"
            else:
                covered |= found
        left = [level for level in item.levels if level not in covered]
        if left and not absent:
            yield f"recipes: expected one with a claim at {', '.join(left)}, found none"
        if item.kind in NAMED and not item.names:
            yield f"names: expected what the document calls the {item.kind}, found none"
        last = max(item.levels, key=port.levels.index)
        texts = [port.recipe_text(text.partition("#")[0]) for text in item.recipes]
        for name in item.names:
            if not _stands_in(name, [port.added_text(last), *texts]):
                yield (
                    f"names: expected {name} in a line that the patches of {port.name} add up to"
                    f" {last}, or in a named recipe or its probe, found none"
                )

    def state(self, source: Source, item: Item) -> str:
        if item.card is not None:
            return CARD
        return RECIPE if item.recipes and not self.wrong(source, item) else RED


def _claimed_levels(port: Port, item: Item, name: str, pattern: str) -> set[str] | str:
    """Return those of an item's levels at which a recipe has a claim, or what is missing."""
    loaded = port.recipe(name)
    if loaded is None:
        return f"expected recipes/{port.name}/{name}.yaml, found none"
    claims = [claim for claim in loaded.recipe.claims if pattern in ("", claim.pattern)]
    if not claims:
        return f"expected a claim on {pattern}, found none"
    run = port.selected(loaded.recipe.levels)
    found: set[str] = set()
    for claim in claims:  # "all" is all that the recipe runs, also a level that is off by default
        found |= run if claim.levels == "all" else run & port.selected(claim.levels)
    found &= set(item.levels)
    return found or f"expected a claim at {', '.join(item.levels)}, found none"


def _stands_in(name: str, texts: list[str]) -> bool:
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    return any(word.search(text) for text in texts)


def problems(mission: Mission, project: Project) -> list[str]:
    """Return all that the data says and that is not so, one line each."""
    found = []
    reds = []
    for key, source in mission.documents.items():
        counted = Counter(item.item for item in source.items)
        found += [
            f"{key}: {name}: expected once, found {n} times" for name, n in counted.items() if n > 1
        ]
        for item in source.items:
            found += [f"{key}: {item.item}: {text}" for text in project.wrong(source, item)]
            if project.state(source, item) == RED:
                reds.append((key, item.item))
    listed = [(red.document, red.item) for red in mission.red]
    for key, name in reds:
        if (key, name) not in listed:
            found.append(
                f"{key}: {name}: no recipe shows it: expected it under `red`, with a reason"
            )
    for key, name in listed:
        if (key, name) not in reds:
            found.append(f"red: {key}: {name}: expected an item that no recipe shows, found none")
    for (key, name), n in Counter(listed).items():
        if n > 1:
            found.append(f"red: {key}: {name}: expected once, found {n} times")
    return found


HEAD = """# What the published documents name, and what shows it

<!-- .ci/mission.py --write makes this page from docs/mission.yaml. -->

The six ports answer to five published documents. This page has every item of them: each
modification, feature, option, script, command, environment variable, known issue, FAQ,
configuration and row of results, in our words, with the level that answers it, the recipes that
show it, and one of three states:

- recipe: the recipes run at the item's level and make claims there (with `#`, claims on just that).
  Whether these hold, `porter verify PORT --recipe NAME` says. It runs them on the CPU and on
  simulated devices, mostly with small models.
- needs a card: only a card can show it, for the reason given. Recipes beside it show the rest.
- **no recipe**: no recipe shows it, for the reason given.

`tests/test_mission.py` holds this page and its data, `docs/mission.yaml`, to the patches and
recipes.
"""

COLUMNS = "| item | level | recipes | state |\n| --- | --- | --- | --- |"


def page(mission: Mission, project: Project) -> str:
    """Return the text of docs/mission.md."""
    parts = [HEAD]
    parts.append(
        "| document | items | " + " | ".join(STATES) + " |\n| --- | ---: " + "| ---: " * 3 + "|"
    )
    total: Counter[str] = Counter()
    for source in mission.documents.values():
        counts = Counter(project.state(source, item) for item in source.items)
        total += counts
        parts.append(_row(f"[{source.title}](#{_anchor(source.title)})", *_numbers(counts)))
    parts.append(_row("all", *_numbers(total)))
    for key, source in mission.documents.items():
        parts.append(f"\n## {source.title}\n\n{_wrapped(source.source)}")
        reasons = {red.item: red.reason for red in mission.red if red.document == key}
        for kind, title in TITLES.items():
            items = [item for item in source.items if item.kind == kind]
            if items:
                parts.append(f"\n### {title}: {source.title}\n\n{COLUMNS}")
                parts += [_item_row(project, source, item, reasons) for item in items]
    return "\n".join(parts) + "\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _item_row(project: Project, source: Source, item: Item, reasons: dict[str, str]) -> str:
    state = project.state(source, item)
    if state == CARD:
        state = f"{CARD}: {item.card}"
    elif state == RED:
        state = f"**{RED}**: {reasons.get(item.item, 'not listed')}"
    port = f"{item.port}: " if item.port else ""
    recipes = ", ".join(f"`{name}`" if "#" in name else name for name in item.recipes)
    named = item.item + (f" ({item.note})" if item.note else "")
    return _row(named, port + ", ".join(item.levels), recipes, state)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _numbers(counts: Counter[str]) -> list[str]:
    return [str(counts.total()), *(str(counts[state]) for state in STATES)]


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")


def main(words: Sequence[str] | None = None) -> int:
    """Check the data and the page, or write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--root", type=Path, default=CHECKOUT, help="the project (default: this)")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--check", action="store_true", help="write nothing (the default)")
    chosen.add_argument("--write", action="store_true", help="write the page")
    options = parser.parse_args(words)
    try:
        mission = load(options.root / DATA, Mission).value
        project = Project(options.root)
        wrong = [f"{DATA}: {text}" for text in problems(mission, project)]
        made = page(mission, project)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    file = options.root / PAGE
    if options.write:
        file.write_text(made, encoding="utf-8")
    there = file.read_text(encoding="utf-8") if file.is_file() else ""
    differs = difflib.unified_diff(
        there.split("\n"), made.split("\n"), f"{PAGE}", f"{PAGE} made from {DATA}", n=0, lineterm=""
    )
    for line in (*wrong, *differs):
        print(line)
    if there != made:
        print(f"{PAGE}: expected what {DATA} gives: run .ci/mission.py --write")
    return int(bool(wrong) or there != made)


if __name__ == "__main__":
    sys.exit(main())
