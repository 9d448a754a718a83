"""Load YAML files as typed values, with errors that name file, line, key, expected and found.

``msgspec.yaml`` converts well but reports ``$.pins[...].commit`` without a line, and PyYAML
silently keeps the last of two equal keys. So the file is composed into nodes (which know their
lines), walked along with its msgspec type, and converted leaf by leaf.

    document = load(path, Recipe)   # BadInput: recipe.yaml:7: limits.seconds: expected ..., ...
    document.value                     # a Recipe
    raise document.error(("limits", "seconds"), "more than 0", 0)   # rules beyond types

Only the unsurprising part of YAML 1.1 is read: ``true``/``false`` are booleans and
``yes``/``no``/``on`` are text, dates are text, tags, merge keys and several documents in one file
are refused. Size, depth and number of values are bounded: PyYAML's C composer recurses, and deep
nesting ends the process.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec
import yaml

from porter.errors import BadInput

T = TypeVar("T")
Key = str | int
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SIZE_LIMIT = 16 * 2**20
_DEPTH_LIMIT = 50
_NODE_LIMIT = 100_000  # aliases multiply: a small file may not become a huge value
_DIGIT_LIMIT = 300
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z"
)
_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "seq", "map")
}
_SEQUENCES = (list, tuple, set, frozenset)
_TOO_DEEP = (f"values nested at most {_DEPTH_LIMIT} deep", "them nested deeper")


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
        shown = str(found) if words else _shown(found)
        return _error(self.path, self.line(key), tuple(key), expected, shown)


def load(path: Path, shape: type[T]) -> Document[T]:
    """Read ``path`` as YAML of type ``shape`` (a msgspec Struct or any type msgspec converts).

    Raises BadInput, in one line, for anything invalid.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise BadInput(f"{path}: expected a YAML file, found none") from None
    if len(data) > _SIZE_LIMIT:
        raise BadInput(f"{path}: expected YAML of at most {_SIZE_LIMIT // 2**20} MiB, found more")
    return loads(data, path, shape)


def loads(data: bytes, path: Path, shape: type[T]) -> Document[T]:
    """Like :func:`load`, from bytes; ``path`` is only named in errors."""
    walk = _Walk(path)
    return Document(path, walk.convert(_compose(data, path), shape, ()), walk.lines)


def _compose(data: bytes, path: Path) -> Any:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"{path}:{line}: expected UTF-8, found byte 0x{data[error.start]:02x}"
        ) from None
    try:
        _refuse_deep(text, path)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = " ".join(f"{error.problem or error.context}".split())
        raise BadInput(f"{path}:{line}: expected YAML, found an error: {problem}") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: expected YAML: {' '.join(str(error).split())}") from None
    if node is None:
        raise BadInput(f"{path}: expected YAML, found an empty file")
    return node


def _refuse_deep(text: str, path: Path) -> None:
    """Raise BadInput for values nested deeper than the limit; nothing here recurses."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEPTH_LIMIT:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise _error(path, line, (), *_TOO_DEEP)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, dict | list) else type(value).__name__
    return text if len(text) <= 80 else text[:77] + "..."


def _name(key: tuple[Key, ...]) -> str:
    return "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in key).lstrip(".")


def _error(path: Path, line: int, key: tuple[Key, ...], expected: str, found: str) -> BadInput:
    where = f" {_name(key)}:" if key else ""
    return BadInput(f"{path}:{line}:{where} expected {expected}, found {found}")


class _Walk:
    """One pass over the nodes and the type together."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[tuple[Key, ...], int] = {}
        self.count = 0

    def fail(self, node: Any, key: tuple[Key, ...], expected: str, found: str) -> BadInput:
        return _error(self.path, node.start_mark.line + 1, key, expected, found)

    def convert(self, node: Any, shape: Any, key: tuple[Key, ...]) -> Any:
        self.lines.setdefault(key, node.start_mark.line + 1)
        self.count += 1
        if len(key) > _DEPTH_LIMIT:  # by way of aliases
            raise self.fail(node, key[:3], *_TOO_DEEP)
        if self.count > _NODE_LIMIT:
            raise self.fail(node, key, f"at most {_NODE_LIMIT} values", "more (aliases multiply)")
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
                raise self.fail(name_node, key, "a plain key", "a list or mapping as a key")
            name = name_node.value
            line = name_node.start_mark.line + 1
            if name == "<<" and not name_node.style:
                raise self.fail(name_node, key, "keys", "a merge key '<<' (not read here)")
            if name in seen:
                expected = f"one entry (the first is on line {seen[name]})"
                raise self.fail(name_node, (*key, name), expected, "a second one")
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
        for name, name_node, value_node in self._mapping(node, key):
            if name not in fields:
                raise self.fail(name_node, (*key, name), _one_of(name, list(fields)), f"{name!r}")
            values[fields[name].name] = self.convert(value_node, fields[name].type, (*key, name))
        for field in fields.values():
            if field.required and field.name not in values:
                raise self.fail(node, key, f"the key {field.encode_name!r}", "none")
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
            checked = self.convert(name_node, key_shape, (*key, name))
            result[checked] = self.convert(value_node, value_shape, (*key, name))
        return result

    def _sequence(self, node: Any, shape: Any, key: tuple[Key, ...], description: str) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, key, description or "a list", _kind(node))
        item_shape, *_ = get_args(shape) or (Any,)
        items = [self.convert(item, item_shape, (*key, i)) for i, item in enumerate(node.value)]
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
            expected = description or _expectation(str(error))
            hint = ""
            if str in leaves and isinstance(value, int | float) and value is not True:
                hint = " (put it in quotes to make it text)"
            raise self.fail(node, key, expected, _found(node, value) + hint) from None

    def _plain(self, node: Any, key: tuple[Key, ...]) -> Any:
        """Return the node as plain Python values (for keys of any type)."""
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
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
        nothing = _scalar(node) is None
        leaves = [(m, bare) for m, bare in kinds if m not in mappings and m not in sequences]
        fits = [m for m, bare in leaves if (bare is NoneType) == nothing]
    if not fits:
        return next(m for m, bare in kinds if bare is not NoneType)
    return fits[0] if len(fits) == 1 else Union.__getitem__(tuple(fits))


def _scalar(node: Any) -> Any:
    """Return a scalar's value; quoted scalars are always text."""
    text: str = node.value
    if node.style:  # the C loader says "" for plain, the other None
        return text
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if len(text) > _DIGIT_LIMIT:
        return text
    if _INTEGER.match(text):
        return int(text, 16) if "x" in text else int(text)
    if _FLOAT.match(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _kind(node: Any) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    value = _scalar(node)
    return "nothing" if value is None else _found(node, value)


def _found(node: Any, value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list | dict):
        return _kind(node)
    return _shown(value)


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
