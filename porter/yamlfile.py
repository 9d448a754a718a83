"""Load YAML files as typed values, with errors that name file, line, key, expected and found.

``msgspec.yaml`` converts well but reports ``$.pins[...].commit`` without a line, and PyYAML
silently keeps the last of two equal keys. So the file is composed into nodes (which know their
lines), walked along with its msgspec type, and converted leaf by leaf.

    document = load(path, Recipe)   # BadInput: recipe.yaml:7: limits.seconds: expected ..., ...
    document.value                     # a Recipe
    raise document.error(("limits", "seconds"), "more than 0", 0)   # rules beyond types

Every wrong value of a file is found, not only the first: the error's one line is the first and the
number of the others, its ``detail`` lists them all.

Only the unsurprising part of YAML 1.1 is read: ``true``/``false`` are booleans and
``yes``/``no``/``on`` are text, dates are text, tags, merge keys and several documents in one file
are refused. Size, depth and number of values are bounded: PyYAML's C composer recurses, and deep
nesting ends the process.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, cast, get_args, get_origin

import msgspec
import yaml

from porter.errors import BadInput
from porter.yamlnodes import (
    DEPTH_LIMIT,
    TOO_DEEP,
    Key,
    compose,
    one_line,
    read_bytes,
    scalar,
    shown,
)

T = TypeVar("T")
_NODE_LIMIT = 100_000  # aliases multiply: a small file may not become a huge value
_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "seq", "map")
}
SHOWN_BY = "porter --verbose matrix"
"""The command that lists every problem of the project's YAML files."""
_SEQUENCES = (list, tuple, set, frozenset)


@dataclass(frozen=True)
class Document(Generic[T]):
    """A loaded file: its typed value and the line of every key."""

    path: Path
    value: T
    lines: dict[tuple[Key, ...], int]

    def line(self, key: Sequence[Key]) -> int:
        """Return the line of ``key``, or of the nearest parent key in the file."""
        at = tuple(key)
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at, 1)

    def error(
        self, key: Sequence[Key], expected: str, found: object, *, words: bool = False
    ) -> BadInput:
        """Return the one-line error for a rule that types cannot express.

        ``found`` is shown as a value, or with ``words`` as plain text.
        """
        text = str(found) if words else shown(found)
        return one_line(self.path, self.line(key), tuple(key), expected, text)


def load(path: Path, shape: type[T], shown_by: str = SHOWN_BY) -> Document[T]:
    """Read ``path`` as YAML of type ``shape`` (a msgspec Struct or any type msgspec converts).

    Raises BadInput, in one line, for anything invalid; ``shown_by`` is the command that lists all
    problems.
    """
    return loads(read_bytes(path), path, shape, shown_by)


def loads(data: bytes, path: Path, shape: type[T], shown_by: str = SHOWN_BY) -> Document[T]:
    """Like :func:`load`, from bytes; ``path`` is only named in errors."""
    document, problems = examine(data, path, shape)
    raise_all(problems, shown_by)
    return cast(Document[T], document)


def examine(data: bytes, path: Path, shape: type[T]) -> tuple[Document[T | None], list[BadInput]]:
    """Return the document and every problem of it.

    With problems its value lacks the wrong entries of mappings and lists, so that rules beyond
    types can still be checked on the others; it is None when nothing is left.
    Raises BadInput for what is no YAML.
    """
    walk = _Walk(path)
    node = compose(data, path)
    value = None
    try:
        value = walk.convert(node, shape, ())
    except _Recorded:
        pass
    except _GiveUp as error:
        walk.problems.append(error)
    return Document(path, value, walk.lines), walk.problems


def raise_all(problems: Sequence[BadInput], shown_by: str) -> None:
    """Raise one BadInput for ``problems``, if there are any: the first, and how many more."""
    if not problems:
        return
    first, *others = problems
    if not others:
        raise first
    error = BadInput(f"{first}; and {len(others)} more in this file (`{shown_by}` lists them)")
    error.detail = "\n".join(map(str, problems))
    raise error


class _Recorded(Exception):
    """A value is wrong, and the problem is recorded."""


class _GiveUp(BadInput):
    """The file is too large or too deep to look further."""


class _Walk:
    """One pass over the nodes and the type together; it records every problem."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[tuple[Key, ...], int] = {}
        self.problems: list[BadInput] = []
        self.count = 0

    def fail(self, node: Any, key: tuple[Key, ...], expected: str, found: str) -> _Recorded:
        """Record a problem; return what to raise."""
        line = node.start_mark.line + 1
        self.problems.append(one_line(self.path, line, key, expected, found))
        return _Recorded()

    def give_up(self, node: Any, key: tuple[Key, ...], expected: str, found: str) -> _GiveUp:
        return _GiveUp(*one_line(self.path, node.start_mark.line + 1, key, expected, found).args)

    def convert(self, node: Any, shape: Any, key: tuple[Key, ...]) -> Any:
        self.lines.setdefault(key, node.start_mark.line + 1)
        self.count += 1
        if len(key) > DEPTH_LIMIT:  # by way of aliases
            raise self.give_up(node, key[:3], *TOO_DEEP)
        if self.count > _NODE_LIMIT:
            expected = f"at most {_NODE_LIMIT} values"
            raise self.give_up(node, key, expected, "more (aliases multiply)")
        if node.tag not in _PLAIN_TAGS:
            raise self.fail(node, key, "a plain value", f"the tag {node.tag}")
        bare, description = _unwrapped(shape)
        if _is_union(bare):
            shape = _branch(node, bare)
            bare, inner = _unwrapped(shape)
            description = description or inner
        if _is_struct(bare):
            return self._struct(node, bare, key)
        if _container(bare) is dict:
            return self._dict(node, bare, key, description)
        if _container(bare) in _SEQUENCES:
            return self._sequence(node, bare, key, description)
        return self._leaf(node, shape, key, description)

    def _mapping(self, node: Any, key: tuple[Key, ...]) -> list[tuple[str, Any, Any]]:
        rows: list[tuple[str, Any, Any]] = []
        seen: dict[str, int] = {}
        for name_node, value_node in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                self.fail(name_node, key, "a plain key", "a list or mapping as a key")
                continue
            name = name_node.value
            line = name_node.start_mark.line + 1
            if name == "<<" and not name_node.style:
                self.fail(name_node, key, "keys", "a merge key '<<' (not read here)")
                continue
            if name in seen:
                expected = f"one entry (the first is on line {seen[name]})"
                self.fail(name_node, (*key, name), expected, "a second one")
                continue
            seen[name] = line
            at = (*key, name)
            self.lines[at] = line
            rows.append((name, name_node, value_node))
        return rows

    def _struct(self, node: Any, shape: Any, key: tuple[Key, ...]) -> Any:
        fields = _fields(shape)
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, key, f"a mapping with the keys {', '.join(fields)}", _kind(node))
        values: dict[str, Any] = {}
        unknown = []
        rows = self._mapping(node, key)
        failed = len(rows) < len(node.value)
        for name, name_node, value_node in rows:
            at = (*key, name)
            if name not in fields:
                self.fail(name_node, at, _one_of(name, list(fields)), f"{name!r}")
                unknown.append(name)
                continue
            try:
                values[fields[name].name] = self.convert(value_node, fields[name].type, at)
            except _Recorded:
                failed = True
        there = {name for name, _, _ in rows}
        for name in (n for n, field in fields.items() if field.required and n not in there):
            failed = True
            if not difflib.get_close_matches(name, unknown, n=1):  # then that says it
                self.fail(node, key, f"the key {name!r}", "none")
        if failed or unknown:
            raise _Recorded
        try:
            return shape(**values)
        except (TypeError, ValueError) as error:
            raise self.fail(node, key, str(error), "another") from None

    def _dict(self, node: Any, shape: Any, key: tuple[Key, ...], description: str) -> Any:
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, key, description or "a mapping", _kind(node))
        key_shape, value_shape = get_args(shape) or (Any, Any)
        result = {}
        for name, name_node, value_node in self._mapping(node, key):
            with suppress(_Recorded):
                checked = self.convert(name_node, key_shape, (*key, name))
                result[checked] = self.convert(value_node, value_shape, (*key, name))
        return result

    def _sequence(self, node: Any, shape: Any, key: tuple[Key, ...], description: str) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, key, description or "a list", _kind(node))
        item_shape, *_ = get_args(shape) or (Any,)
        items = []
        for number, item in enumerate(node.value):
            with suppress(_Recorded):
                items.append(self.convert(item, item_shape, (*key, number)))
        kind = _container(shape)
        return kind(items) if kind in (list, tuple) else frozenset(items)

    def _leaf(self, node: Any, shape: Any, key: tuple[Key, ...], description: str) -> Any:
        value = self._plain(node, key)
        leaves = _leaves(shape)
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        try:
            if is_integer and float in leaves and int not in leaves:
                return msgspec.convert(float(value), shape)
            return msgspec.convert(value, shape)
        except msgspec.ValidationError as error:
            choices = [str(each) for leaf in leaves for each in _choices(leaf)]
            expected = description or _expectation(str(error))
            if choices and not description:
                expected = _one_of(str(value), choices)
            hint = ""
            if str in leaves and isinstance(value, int | float) and value is not True:
                hint = " (put it in quotes to make it text)"
            raise self.fail(node, key, expected, _found(node, value) + hint) from None

    def _plain(self, node: Any, key: tuple[Key, ...]) -> Any:
        """Return the node as plain Python values (for keys of any type)."""
        if isinstance(node, yaml.ScalarNode):
            return scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.convert(item, Any, (*key, i)) for i, item in enumerate(node.value)]
        return {n: self.convert(v, Any, (*key, n)) for n, _, v in self._mapping(node, key)}


@cache
def _unwrapped(shape: Any) -> tuple[Any, str]:
    """Return a type without its annotations and names, and their description."""
    description = ""
    while True:
        if get_origin(shape) is Annotated:
            shape, *notes = get_args(shape)
            for note in reversed(notes):
                description = description or getattr(note, "description", None) or ""
        elif hasattr(shape, "__supertype__"):  # a NewType
            shape = shape.__supertype__
        else:
            return shape, description


@cache
def _fields(shape: Any) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(shape)}


@cache
def _leaves(shape: Any) -> list[Any]:
    """Return the members of a union, or the type itself, without annotations."""
    bare = _unwrapped(shape)[0]
    return [_unwrapped(each)[0] for each in get_args(bare)] if _is_union(bare) else [bare]


def _choices(bare: Any) -> tuple[Any, ...]:
    """Return the values of a Literal; none for another type."""
    return get_args(bare) if get_origin(bare) is Literal else ()


def _is_struct(bare: Any) -> bool:
    return isinstance(bare, type) and issubclass(bare, msgspec.Struct)


def _is_union(bare: Any) -> bool:
    return get_origin(bare) in (Union, UnionType)


def _container(bare: Any) -> Any:
    return get_origin(bare) or bare


def _branch(node: Any, union: Any) -> Any:
    """Choose the member of a union by the node's kind; several leaves stay a union for msgspec."""
    kinds = [(member, _unwrapped(member)[0]) for member in get_args(union)]
    mappings = [m for m, bare in kinds if _is_struct(bare) or _container(bare) is dict]
    sequences = [m for m, bare in kinds if _container(bare) in _SEQUENCES]
    if isinstance(node, yaml.MappingNode):
        fits = mappings
    elif isinstance(node, yaml.SequenceNode):
        fits = sequences
    else:
        nothing = scalar(node) is None
        leaves = [(m, bare) for m, bare in kinds if m not in mappings and m not in sequences]
        fits = [m for m, bare in leaves if (bare is NoneType) == nothing]
    if not fits:
        return next(m for m, bare in kinds if bare is not NoneType)
    return fits[0] if len(fits) == 1 else Union.__getitem__(tuple(fits))


def _kind(node: Any) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    value = scalar(node)
    return "nothing" if value is None else _found(node, value)


def _found(node: Any, value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list | dict):
        return _kind(node)
    return shown(value)


def _one_of(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    listed = ", ".join(names)
    return f"{near[0]!r} (near this name) or another of {listed}" if near else f"one of {listed}"


_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}


def _expectation(message: str) -> str:
    """Turn msgspec's "Expected `int` >= 1, got `str`" into the words after "expected"."""
    text = message.split(" - at ")[0].split(", got")[0]
    text = re.sub(r"^(Expected|Invalid) ", "", text)
    text = re.sub(r"`(\w+)`", lambda m: _WORDS.get(m[1], m[1]), text)
    return re.sub(r"`([^`]*)`", r"\1", text)
