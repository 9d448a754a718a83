"""Edit ``upstream_pins.yaml`` as text: one pin's entry, every other byte stays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from porter.errors import BadInput


def entry_lines(text: str, name: str, path: Path) -> tuple[int, int]:
    """Return the lines [first, last) of the entry of pin ``name``, comments below it included.

    Raises BadInput, naming ``path``, when there is no such entry.
    """
    top = yaml.compose(text, Loader=yaml.SafeLoader)
    rows = _rows(top)
    after_pins = [key.start_mark.line for key, _ in rows]
    for key, value in rows:
        if key.value != "pins":
            continue
        pins = _rows(value)
        for at, (pin, _) in enumerate(pins):
            if pin.value != name:
                continue
            first = pin.start_mark.line
            later = [line for line in after_pins if line > first]
            last = pins[at + 1][0].start_mark.line if at + 1 < len(pins) else min(later, default=-1)
            return first, last if last >= 0 else len(text.splitlines())
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


def with_values(text: str, name: str, values: Mapping[str, str], comment: str, path: Path) -> str:
    """Return the file's text with scalars of a pin's entry replaced, such as ``commit``.

    A comment behind a replaced ``commit`` becomes ``comment`` (empty: none), since it described
    the old one. Raises BadInput for a key that the entry lacks.
    """
    lines = text.splitlines(keepends=True)
    top = {key.value: value for key, value in _rows(yaml.compose(text, yaml.SafeLoader))}
    entry = {key.value: value for key, value in _rows(top["pins"])}[name]
    scalars = {key.value: value for key, value in _rows(entry)}
    for key, value in values.items():
        if key not in scalars:
            raise BadInput(f"{path}: pin {name!r} has no {key!r} to replace by {value}")
        mark, end = scalars[key].start_mark, scalars[key].end_mark
        line = lines[mark.line]
        rest = line[end.column :]
        if key == "commit":
            rest = (f" # {comment}" if comment else "") + "\n"
        lines[mark.line] = line[: mark.column] + value + rest
    return "".join(lines)


def _rows(node: yaml.Node | None) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else []
