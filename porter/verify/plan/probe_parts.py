"""Find the parts of a probe that a failing part before them would hide.

A probe that computes and records one output after another, or one in each round of a loop, ends at
the first exception, and what comes after it is not judged. ``with probe.attempt(name)`` around each
part lets it go on. Looked at is what ``run`` comes to: its own statements and those of functions,
of the probe and of files beside it, whose names they use.
"""

from __future__ import annotations

import ast
import builtins
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_OUTPUTS = ("record", "record_image", "record_text", "record_files", "record_calls")
_SCRIPTS = ("script", "launch")
_RECORDING = (*_OUTPUTS, *_SCRIPTS, "count")
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_NO_WORK = {"torch", "probe", "Path", *dir(builtins)}
"""Calls of these, and of their attributes, between two outputs only prepare what is recorded."""


@dataclass(frozen=True)
class Part:
    """A call that records an output (or a counter, or runs a script) under no ``attempt``.

    ``is_after_work``: something is computed between the part before it and its end.
    """

    file: Path
    line: int
    call: str
    in_loop: bool
    is_after_work: bool


def hidden_parts(probe: Path, files: Sequence[Path]) -> tuple[Part, Part] | None:
    """Return two parts of which the second is not judged where the first fails; None for no such.

    ``files`` are the Python files that the probe may import, itself among them. The two parts are
    the same call if it is in a loop. Of the branches of an ``if`` the one with more parts counts.
    """
    walk = _Walk()
    for path in files:
        walk.read(path)
    parts = walk.function(probe, "run", in_loop=False)
    counts = () if walk.attempts or any(part.call in _OUTPUTS for part in parts) else ("count",)
    for calls in (_OUTPUTS, _SCRIPTS, counts):
        found = [part for part in parts if part.call in calls]
        for part in found:
            if part.in_loop:
                return part, part
        for before, part in itertools.pairwise(found):
            if part.is_after_work or part.call in _SCRIPTS:
                return before, part
    return None


class _Walk:
    """The functions of the probe and its neighbours, and what they come to."""

    def __init__(self) -> None:
        self.attempts = 0
        self._owners = {"self"}
        self._worked = False
        self._functions: dict[str, list[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]] = {}
        self._entered: list[str] = []

    def read(self, path: Path) -> None:
        """Add a file's functions and methods."""
        self._owners.add(path.stem)
        try:
            tree = ast.parse(path.read_bytes(), str(path))
        except (OSError, SyntaxError, ValueError):
            return  # the run says what is wrong with it
        for node in ast.walk(tree):
            if isinstance(node, _FUNCTIONS):
                self._functions.setdefault(node.name, []).append((path, node))

    def function(self, caller: Path, name: str, *, in_loop: bool) -> list[Part]:
        """Return the parts of the function that a name means in the file ``caller``."""
        named = self._functions.get(name, [])
        own = [(path, node) for path, node in named if path == caller]
        if name in self._entered or not named:
            return []
        self._entered.append(name)
        path, node = (own or named)[0]
        try:
            return self._block(path, node.body, in_loop)
        finally:
            self._entered.pop()

    def _block(self, path: Path, body: Sequence[ast.stmt], in_loop: bool) -> list[Part]:
        parts: list[Part] = []
        for index, statement in enumerate(body):
            if isinstance(statement, ast.If):
                parts += self._expressions(path, statement.test, in_loop)
                rest = body[index + 1 :]
                one, other = statement.body, [*statement.orelse]
                if isinstance(one[-1], ast.Return | ast.Raise | ast.Continue):
                    one, other = one, [*other, *rest]  # the rest is the other branch
                    rest = []
                branches = [self._block(path, branch, in_loop) for branch in (one, other)]
                return [*parts, *max(branches, key=len), *self._block(path, rest, in_loop)]
            parts += self._statement(path, statement, in_loop)
        return parts

    def _statement(self, path: Path, node: ast.stmt, in_loop: bool) -> list[Part]:
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            return []
        if isinstance(node, ast.With | ast.AsyncWith):
            if any(self._attempts(item.context_expr) for item in node.items):
                self.attempts += 1
                return []
            parts = [
                part
                for item in node.items
                for part in self._expressions(path, item.context_expr, in_loop)
            ]
            return parts + self._block(path, node.body, in_loop)
        if isinstance(node, _LOOPS):
            head = node.test if isinstance(node, ast.While) else node.iter
            parts = self._expressions(path, head, in_loop)
            return parts + self._block(path, [*node.body, *node.orelse], in_loop=True)
        if isinstance(node, ast.Try):
            body = [*node.body, *node.orelse, *node.finalbody]
            return self._block(path, body, in_loop)
        return self._expressions(path, node, in_loop)

    def _attempts(self, node: ast.AST) -> bool:
        """Return whether a context manager is ``attempt``, or a function that yields in one."""
        if _is_attempt(node):
            return True
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            return False
        functions = [function for _, function in self._functions.get(node.func.id, [])]
        return any(_yields_in_attempt(part) for each in functions for part in ast.walk(each))

    def _expressions(self, path: Path, node: ast.AST, in_loop: bool) -> list[Part]:
        parts: list[Part] = []
        for call, looped in _calls(node, in_loop):
            match call.func:
                case ast.Attribute(value=ast.Name(id="probe"), attr=name) if name in _RECORDING:
                    parts.append(Part(path, call.lineno, name, looped, self._worked))
                    self._worked = name in _SCRIPTS
                    continue
                case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in self._owners:
                    inner = self.function(path, name, in_loop=looped)
                case ast.Name(id=name):
                    inner = self.function(path, name, in_loop=looped)
                case _:
                    inner = []
            parts += inner
            self._worked |= not inner and _root(call.func) not in _NO_WORK
        return parts


def _calls(node: ast.AST, in_loop: bool) -> Iterator[tuple[ast.Call, bool]]:
    """Yield the calls in a node, from the inside, and whether each is in a loop."""
    inside = in_loop or isinstance(node, _COMPREHENSIONS)
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, inside)
    if isinstance(node, ast.Call):
        yield node, in_loop


def _root(node: ast.expr) -> str:
    """Return the name that a dotted name begins with, "" for another expression."""
    while isinstance(node, ast.Attribute):
        node = node.value
    if isinstance(node, ast.Constant):
        return type(node.value).__name__
    return node.id if isinstance(node, ast.Name) else ""


def _is_attempt(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "attempt"
    )


def _yields_in_attempt(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.With)
        and any(_is_attempt(item.context_expr) for item in node.items)
        and any(isinstance(inner, ast.Yield) for inner in ast.walk(node))
    )
