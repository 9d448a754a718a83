"""Edit ``upstream_pins.yaml`` as text: one pin's entry, every other byte stays."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import yaml

from porter.errors import BadInput


def entry_lines(text: str, name: str, path: Path) -> tuple[int, int]:
    """Return the lines [first, last) of the entry of pin ``name``, comments below it included.

    Raises BadInput, naming ``path``, when there is no such entry.
    """
    rows = _rows(yaml.compose(text, Loader=yaml.SafeLoader))
    for key, value in rows:
        if key.value != "pins":
            continue
        pins = _rows(value)
        for at, (pin, _) in enumerate(pins):
            if pin.value != name:
                continue
            first = pin.start_mark.line
            after = pins[at + 1 :] or rows
            later = [each.start_mark.line for each, _ in after if each.start_mark.line > first]
            return first, min(later, default=len(text.splitlines()))
    raise BadInput(f"{path}: no pin {name!r}")


def pin_entry(text: str, name: str, path: Path) -> str:
    """Return the text of a pin's entry."""
    first, last = entry_lines(text, name, path)
    return "".join(text.splitlines(keepends=True)[first:last])


def with_entry(text: str, name: str, entry: str, path: Path) -> str:
    """Return the file's text with a pin's entry replaced."""
    first, last = entry_lines(text, name, path)
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:first], entry, *lines[last:]])


def with_values(
    text: str, name: str, values: Mapping[tuple[str | int, ...], str], path: Path, comment: str = ""
) -> str:
    """Return the file's text with scalars of a pin's entry replaced, by their keys.

    A comment behind a replaced ``commit`` becomes ``comment`` (empty: none), since it described
    the old one. Raises BadInput for a key that the entry lacks.
    """
    for key, value in values.items():
        node = _node(yaml.compose(text, Loader=yaml.SafeLoader), ("pins", name, *key))
        if not isinstance(node, yaml.ScalarNode):
            shown = ".".join(map(str, key))
            raise BadInput(f"{path}: pin {name!r} has no {shown!r} to replace by {value}")
        lines = text.splitlines(keepends=True)
        line, start, end = lines[node.start_mark.line], node.start_mark.column, node.end_mark.column
        rest = line[end:]
        if key[-1] == "commit" and re.fullmatch(r"\s*(#.*)?\n?", rest):
            rest = (f" # {comment}" if comment else "") + "\n"
        lines[node.start_mark.line] = line[:start] + value + rest
        text = "".join(lines)
    return text


def without_items(text: str, name: str, key: str, items: Collection[str]) -> str:
    """Return the file's text without some items of a pin's list or mapping ``key``.

    The key goes with its last item.
    """
    for item in items:
        found = _node(yaml.compose(text, Loader=yaml.SafeLoader), ("pins", name))
        for at, node in _rows(found):
            if at.value == key and isinstance(node, yaml.CollectionNode):
                text = _without(text, at, node, item)
    return text


def _without(text: str, key: yaml.ScalarNode, node: yaml.CollectionNode, item: str) -> str:
    children = _children(node)
    left = [span for value, span in children if value != item]
    lines = text.splitlines(keepends=True)
    if not left:
        last = max(end.line for _, (_, end) in children)
        after = max(last, node.end_mark.line if node.flow_style else last) + 1
        return "".join([*lines[: key.start_mark.line], *lines[after:]])
    if node.flow_style:
        kept = ", ".join(text[start.index : end.index] for start, end in left)
        begin, end = node.start_mark.index, node.end_mark.index
        return text[: begin + 1] + kept + text[end - 1 :]
    gone = {start.line for value, (start, _) in children if value == item}
    return "".join(line for at, line in enumerate(lines) if at not in gone)


def _children(node: yaml.CollectionNode) -> list[tuple[str, tuple[yaml.Mark, yaml.Mark]]]:
    """Return the scalars of a list, or the keys of a mapping, each with where its entry is."""
    if isinstance(node, yaml.MappingNode):
        return [(key.value, (key.start_mark, value.end_mark)) for key, value in node.value]
    return [(each.value, (each.start_mark, each.end_mark)) for each in node.value]


def _node(node: yaml.Node | None, key: tuple[str | int, ...]) -> yaml.Node | None:
    for part in key:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part] if part < len(node.value) else None
        else:
            node = {k.value: v for k, v in _rows(node)}.get(part)
    return node


def _rows(node: yaml.Node | None) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else []
