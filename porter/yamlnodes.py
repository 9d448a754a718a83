"""YAML text as nodes that know their lines, for :mod:`porter.yamlfile`.

Size, depth and number of digits are bounded: PyYAML's C composer recurses, and deep nesting ends
the process.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from porter.errors import BadInput

Key = str | int
DEPTH_LIMIT = 50
TOO_DEEP = (f"values nested at most {DEPTH_LIMIT} deep", "them nested deeper")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SIZE_LIMIT = 16 * 2**20
_DIGIT_LIMIT = 300
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z"
)


def read_bytes(path: Path) -> bytes:
    """Return a YAML file's bytes. Raises BadInput when there is none, or too many."""
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise BadInput(f"{path}: expected a YAML file, found none") from None
    if len(data) > _SIZE_LIMIT:
        raise BadInput(f"{path}: expected YAML of at most {_SIZE_LIMIT // 2**20} MiB, found more")
    return data


def compose(data: bytes, path: Path) -> Any:
    """Return the file's top node; ``path`` is named in errors. Raises BadInput."""
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
            if depth > DEPTH_LIMIT:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise one_line(path, line, (), *TOO_DEEP)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def scalar(node: Any) -> Any:
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


def _name(key: tuple[Key, ...]) -> str:
    return "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in key).lstrip(".")


def one_line(path: Path, line: int, key: tuple[Key, ...], expected: str, found: str) -> BadInput:
    """Return the error that names file, line, key, what was expected and what stands there."""
    where = f" {_name(key)}:" if key else ""
    return BadInput(f"{path}:{line}:{where} expected {expected}, found {found}")


def shown(value: object) -> str:
    """Return a value in at most 80 characters."""
    text = repr(value) if not isinstance(value, dict | list) else type(value).__name__
    return text if len(text) <= 80 else text[:77] + "..."
