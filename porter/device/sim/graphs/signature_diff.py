"""Describe how two graphs differ, so that an engineer can act on it.

"arg 2 of aten.select.int at diffusion/sampling.py:214: 7 was 6" says which Python value, on which
line, made the device compile again. Tokens are those of :mod:`porter.device.sim.graphs.signature`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from functools import partial
from typing import Any

from porter.device.sim.graphs.signature import Token
from porter.interception.source_lines import Site

Locate = Callable[[int], Site]

_INPUT_PARTS = ("shape", "strides", "dtype")


def _is_input(element: Any) -> bool:
    """Whether this is a graph input, (name, (shape, strides, dtype)), not a list of two results."""
    if not (isinstance(element, tuple) and len(element) == 2 and _is_value(element[0])):
        return False
    return isinstance(element[1], tuple) and len(element[1]) == len(_INPUT_PARTS)


def _is_value(element: Any) -> bool:
    return isinstance(element, str) and element.startswith("%")


def _is_tensor(element: Any) -> bool:
    return _is_value(element) or _is_input(element)


def _is_float(element: Any) -> bool:
    return isinstance(element, tuple) and len(element) == 2 and element[0] == "float"


def _show(element: Any) -> str:
    if element in ("#true", "#false"):
        return str(element == "#true")
    if isinstance(element, tuple):
        if _is_float(element):
            return f"{element[1]:.6g}"
        if _is_input(element):
            return "a tensor from outside the graph"
        return "(" + ", ".join(_show(each) for each in element) + ")"
    if _is_value(element):
        return f"the result {element}"
    return str(element)


def _describe_argument(new: Any, old: Any) -> str:
    """Describe how one argument differs: "7 was 6"."""
    if _is_input(new) and _is_input(old) and new[1] != old[1]:
        for part, one, other in zip(_INPUT_PARTS, new[1], old[1], strict=True):
            if one != other:
                return f"{part} {_show(one)} was {_show(other)}"
    if _is_float(new) and _is_float(old):
        new, old = new[1], old[1]
    if isinstance(new, float) and isinstance(old, float):
        short = f"{new:.6g}", f"{old:.6g}"
        return " was ".join(short if short[0] != short[1] else (repr(new), repr(old)))
    if isinstance(new, tuple) and isinstance(old, tuple) and not (_is_input(new) or _is_input(old)):
        if len(new) != len(old):
            return f"{len(new)} items were {len(old)}"
        if len(new) > 4 or any(isinstance(each, tuple) for each in new):
            differing = [i for i in range(len(new)) if new[i] != old[i]]
            first = differing[0]
            text = f"item {first}: {_describe_argument(new[first], old[first])}"
            return text + (f" and {len(differing) - 1} more items" if len(differing) > 1 else "")
    return f"{_show(new)} was {_show(old)}"


def _is_keyword(element: Any) -> bool:
    """Whether this is a keyword argument, (name, value)."""
    return (
        isinstance(element, tuple)
        and len(element) == 2
        and isinstance(element[0], str)
        and element[0].isidentifier()
        and not _is_float(element)
    )


def _frozen(element: Any) -> Any:
    """Return the element with lists, which tokens keep unchanged, turned into tuples."""
    if isinstance(element, (tuple, list)):
        return tuple(_frozen(each) for each in element)
    return element


def _describe_op(
    new: Token, old: Token, locate: Locate, position: int, same: Callable[[Any, Any], bool]
) -> str:
    """Describe how two calls of one op differ."""
    new, old, site = _frozen(new), _frozen(old), locate(position)
    if len(new) != len(old):
        return f"{new[0]} at {site}: {len(new) - 1} arguments were {len(old) - 1}"
    index = next(i for i in range(1, len(new)) if not same(new[i], old[i]))
    one, other, name = new[index], old[index], str(index - 1)
    if _is_keyword(one) and _is_keyword(other) and one[0] == other[0]:
        name, one, other = one[0], one[1], other[1]
    if isinstance(one, tuple) and one[:1] == ("->",):
        return f"result of {new[0]} at {site}: shape {_show(one[1])} was {_show(other[1])}"
    return f"arg {name} of {new[0]} at {site}: {_describe_argument(one, other)}"


def _describe_ops(change: str, number: int, first: str, locate: Locate, position: int) -> str:
    ops = "1 op" if number == 1 else f"{number} ops"
    return f"{ops} {change}, first {first} at {locate(position)}"


def differences(
    new: list[Token], old: list[Token], locate: Locate, locate_old: Locate, limit: int = 3
) -> tuple[str, ...]:
    """Return up to ``limit`` differences in program order, and how many more there are.

    ``locate(i)`` gives the user's line of the new graph's op ``i``, ``locate_old`` of the old
    one's.
    """
    found: list[str] = []
    more = 0

    def add(describe: Callable[[], str]) -> None:
        nonlocal more
        if len(found) < limit:
            found.append(describe())
        else:
            more += 1

    same_names = [token[0] for token in new] == [token[0] for token in old]
    same = operator.eq if same_names else _alike
    for tag, old_start, old_end, start, end in _blocks(new, old, same_names):
        if tag == "equal":
            for position in range(start, end):
                one, other = new[position], old[old_start + position - start]
                if not same(one, other):
                    add(partial(_describe_op, one, other, locate, position, same))
            continue
        if end > start:
            add(partial(_describe_ops, "more", end - start, new[start][0], locate, start))
        if old_end > old_start:
            gone = old_end - old_start
            add(partial(_describe_ops, "fewer", gone, old[old_start][0], locate_old, old_start))
    if more:
        found.append(f"and {more} more")
    return tuple(found)


def _blocks(
    new: list[Token], old: list[Token], same_names: bool
) -> Iterator[tuple[str, int, int, int, int]]:
    """Align two graphs by op name, as :meth:`difflib.SequenceMatcher.get_opcodes` would.

    Equal ends are cut off first: the matcher's time grows with the square of repeated names.
    """
    if same_names:
        yield "equal", 0, len(old), 0, len(new)
        return
    names, old_names = [token[0] for token in new], [token[0] for token in old]
    shorter = min(len(names), len(old_names))
    head = next((i for i in range(shorter) if names[i] != old_names[i]), shorter)
    rest = shorter - head
    tail = next((i for i in range(rest) if names[-1 - i] != old_names[-1 - i]), rest)
    if head:
        yield "equal", 0, head, 0, head
    middle, old_middle = names[head : len(names) - tail], old_names[head : len(old_names) - tail]
    matcher = SequenceMatcher(None, old_middle, middle, autojunk=len(middle) > 500)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        yield tag, head + i1, head + i2, head + j1, head + j2
    if tail:
        yield "equal", len(old) - tail, len(old), len(new) - tail, len(new)


def _alike(one: Any, other: Any) -> bool:
    """Whether two elements are equal except for the numbers of their values.

    Numbers shift when earlier ops are added or removed, and some results then become inputs or the
    reverse; only the added and removed ops are worth reporting.
    """
    if one == other:
        return True
    if _is_input(one) and _is_input(other):
        return bool(one[1] == other[1])
    if _is_tensor(one) and _is_tensor(other):
        return True
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return all(_alike(a, b) for a, b in zip(one, other, strict=True))
    return False
