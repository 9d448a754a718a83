"""What names a level in YAML: recipes, lists of mutants, and companions of other ports' recipes.

When levels are renamed, moved, joined or split, these files are edited as text, so that comments
and layout stay. A level may be named by its number or by a prefix too: what means another level
afterwards is rewritten, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from porter.errors import BadInput
from porter.levels.level_name import find_number
from porter.places import recipes_dir

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS = ("all", "previous", "last")
"""What stands in a level's place and names none."""
_NOT_TEXT = re.compile(r"(?i:true|false|null|y|n|yes|no|on|off)\Z|[-+]?[0-9.][0-9.e+-]*\Z")


@dataclass(frozen=True, slots=True)
class LevelChange:
    """What became of a port's levels, level 0 first. ``renamed``: old name -> new name.

    ``parted`` is for a level that was split: (old level, file) -> the new level with its changes.
    """

    port: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)
    parted: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def changes_names(self) -> bool:
        """Whether a number or a name may mean another level than before."""
        return bool(self.old != self.new or self.renamed or self.parted)

    def now(self, old: str, file: str = "") -> str:
        """Return the level that an old one, or its changes of a file, became; "" if it is gone."""
        name = self.parted.get((old, file)) or self.renamed.get(old, old)
        return name if name in self.new else ""

    def target(self, text: str, file: str = "") -> tuple[str, str]:
        """Return (the level that ``text`` named, the one it means now); "" for none."""
        old = _found(self.old, text)
        return old, self.now(old, file) if old else ""

    def spelled(self, text: str, file: str = "") -> str:
        """Return how to name from now on what ``text`` named; unchanged where that still works."""
        _, target = self.target(text, file)
        if not target or _found(self.new, text) == target:
            return text
        return str(self.new.index(target)) if text.isdecimal() else target


def _found(names: Sequence[str], text: str) -> str:
    try:
        return names[find_number(names, text)]
    except BadInput:
        return ""


@dataclass(frozen=True, slots=True)
class Reference:
    """A scalar that names a level. ``file``: the level's file that it is about, of a mutant."""

    node: Any
    file: str = ""

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1


def changed_yaml(root: Path, change: LevelChange) -> tuple[dict[str, bytes], list[str]]:
    """Return the new contents of YAML files by path in the project, and what was left as it is."""
    contents: dict[str, bytes] = {}
    notes: list[str] = []
    for path, is_list in _files(root, change.port):
        shown = path.relative_to(root).as_posix()
        try:
            text = path.read_bytes().decode()
            top = yaml.compose(text, Loader=_LOADER)
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            notes.append(f"{shown}: not read ({' '.join(str(error).split())[:60]})")
            continue
        own = path.is_relative_to(recipes_dir(root, change.port))
        groups = list(_list_groups(top) if is_list else _recipe_groups(top, change.port, own=own))
        new = _edited(text, groups, change)
        if new != text:
            contents[shown] = new.encode()
        for reference in (each for group in groups for each in group.all):
            old, now = change.target(reference.node.value, reference.file)
            if old and not now:
                notes.append(f"still names {old}: {shown}:{reference.line}")
        notes += [note for group in groups for note in _empty_range(group, change, shown)]
    return contents, notes


def _files(root: Path, port: str) -> Iterator[tuple[Path, bool]]:
    """Yield the recipes of all ports, and (True) the port's lists of mutants."""
    for path in sorted((root / "recipes").glob("*/*.yaml")):
        yield path, False
    for path in sorted((recipes_dir(root, port) / "mutants").glob("*.yaml")):
        yield path, True


@dataclass(frozen=True, slots=True)
class _Group:
    """References that belong together: one, the ends of a range, or (``several``) a list."""

    references: tuple[Reference, ...] = ()
    several: Any = None
    ends: tuple[Reference | None, Reference | None] = (None, None)

    @property
    def all(self) -> tuple[Reference, ...]:
        return (*self.references, *(end for end in self.ends if end is not None))


def _entries(node: Any) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _items(node: Any) -> list[Any]:
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _level(node: Any) -> Reference | None:
    plain = isinstance(node, yaml.ScalarNode) and node.value not in _WORDS
    return Reference(node) if plain else None


def _one(node: Any) -> Iterator[_Group]:
    if reference := _level(node):
        yield _Group((reference,))


def _recipe_groups(top: Any, port: str, *, own: bool) -> Iterator[_Group]:
    recipe = _entries(top)
    yield from _one(_entries(recipe.get("companions")).get(port))
    if not own:
        return
    yield from _selection(recipe.get("levels"))
    for item in _items(recipe.get("claims")):
        claim = _entries(item)
        yield from _selection(claim.get("levels"))
        for name in ("against", "less_than", "ratio"):
            yield from _one(_entries(claim.get(name)).get("level"))


def _selection(node: Any) -> Iterator[_Group]:
    if isinstance(node, yaml.MappingNode):
        ends = _entries(node)
        yield _Group(ends=(_level(ends.get("from")), _level(ends.get("to"))))
    elif isinstance(node, yaml.SequenceNode):
        yield _Group(tuple(filter(None, map(_level, node.value))), several=node)


def _list_groups(top: Any) -> Iterator[_Group]:
    for item in _items(_entries(top).get("equivalents")):
        entry = _entries(item)
        if reference := _level(entry.get("level")):
            file = entry.get("file")
            yield _Group((Reference(reference.node, getattr(file, "value", "")),))


def _edited(text: str, groups: Sequence[_Group], change: LevelChange) -> str:
    edits: dict[tuple[int, int], str] = {}
    for group in groups:
        seen: dict[str, str] = {}
        for reference in group.all:
            node = reference.node
            old, target = change.target(node.value, reference.file)
            new = change.spelled(node.value, reference.file)
            if group.several is not None and target and seen.get(target, old) != old:
                edits[_item_span(text, group.several, node)] = ""
            elif new != node.value:
                edits[node.start_mark.index, node.end_mark.index] = _scalar(node, new)
            seen.setdefault(target, old)
    for (start, end), new in sorted(edits.items(), reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _item_span(text: str, sequence: Any, node: Any) -> tuple[int, int]:
    """Return the span of a list's item (not the first) with what parts it from the one before."""
    before = sequence.value[sequence.value.index(node) - 1]
    if sequence.flow_style:
        return before.end_mark.index, node.end_mark.index
    start = text.rindex("\n", 0, node.start_mark.index)
    end = text.find("\n", node.end_mark.index)
    return start, len(text) if end < 0 else end


def _scalar(node: Any, text: str) -> str:
    """Return ``text`` as YAML, in quotes if the old scalar is or if it would not be text."""
    if node.style in ("'", '"'):
        return f"{node.style}{text}{node.style}"
    return f'"{text}"' if _NOT_TEXT.match(text) and not text.isdecimal() else text


def _empty_range(group: _Group, change: LevelChange, shown: str) -> Iterator[str]:
    first, last = group.ends
    if first is None or last is None:
        return
    old = [_found(change.old, end.node.value) for end in (first, last)]
    if not all(old) or change.old.index(old[0]) > change.old.index(old[1]):
        return
    now = [change.now(name) for name in old]
    if all(now) and change.new.index(now[0]) > change.new.index(now[1]):
        yield f"{shown}:{first.line}: no level is from {now[0]} to {now[1]} any more"
