"""The mutants of a level: every edit on a line that its patch changed, and what became of each.

A mutant is tried on a folder with the level's own files, hard-linked, and the mutant's.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from porter.git.objects import Oid
from porter.levels.levels import Level
from porter.mutation.edits import Kind
from porter.mutation.operators import edits
from porter.series.unified import added_lines, diff_text, read_diff
from porter.source_text import Source
from porter.verify.plan.trees import LevelTree, NamedLevel, Trees

_WHOLE: tuple[Kind, ...] = ("removed-call", "missing-mark-step", "removed-copy")
"""Kinds that remove a whole statement, which must begin on a line of the patch."""

ReadBlob = Callable[[Oid], bytes]


@dataclass(frozen=True)
class Mutant:
    """One wrong version of one file of a level. ``before`` and ``after`` are whole texts."""

    level: int
    level_name: str
    path: str
    line: int
    kind: Kind
    before: str
    after: str
    statement: tuple[int, int]
    """First and last line of the changed statement (of a compound one: of its head)."""

    @property
    def key(self) -> str:
        """The mutant's name in tables and lists: 10 hex digits of its hash."""
        text = "\0".join((self.level_name, self.path, *self.changed))
        return hashlib.sha256(f"{text}\0{self.line}".encode(errors="surrogateescape")).hexdigest()[
            :10
        ]

    @property
    def names(self) -> dict[str, Any]:
        """What names the mutant in JSON."""
        names = {"key": self.key, "level": self.level_name, "file": self.path}
        return {**names, "line": self.line, "kind": self.kind}

    @property
    def title(self) -> str:
        """What names the mutant on a terminal."""
        return f"{self.key}  {self.level_name}  {self.kind}  {self.path}:{self.line}"

    @property
    def changed(self) -> tuple[str, str]:
        """The lines that differ, before and after, without blanks around each block."""
        before, after = self.before.splitlines(), self.after.splitlines()
        first = 0
        while first < min(len(before), len(after)) and before[first] == after[first]:
            first += 1
        last = 0
        while last < min(len(before), len(after)) - first and before[-1 - last] == after[-1 - last]:
            last += 1
        ends = len(before) - last, len(after) - last
        return "\n".join(before[first : ends[0]]).strip(), "\n".join(after[first : ends[1]]).strip()

    def diff(self) -> str:
        """The mutant as a unified diff with one line of context."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            f"a/{self.path}",
            f"b/{self.path}",
            n=1,
        )
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


@dataclass(frozen=True)
class RecipeCoverage:
    """The lines that one run executes, by file; ``everything`` where they are not known."""

    lines: Mapping[str, frozenset[int]]
    everything: bool = False

    def includes(self, mutant: Mutant) -> bool:
        """Whether the run executes any line of the mutant's statement."""
        first, last = mutant.statement
        executed = self.lines.get(mutant.path, frozenset())
        return self.everything or any(line in executed for line in range(first, last + 1))


def level_mutants(level: Level, read: ReadBlob) -> Iterator[Mutant]:
    """Yield the mutants of a level's Python files, by file and line, without duplicates.

    Level 0 has none: porter does not test upstream's own lines.
    """
    if level.patch is None:
        return
    both = zip(level.patch.files, read_diff(diff_text(level.patch)), strict=True)
    for file, read_file in sorted(both, key=lambda pair: pair[0].path):
        blob = level.files.get(file.path)
        if blob is None or not file.path.endswith(b".py"):
            continue
        text = read(blob).decode("utf-8", "surrogateescape")
        yield from _file_mutants(level, file.path.decode(), text, added_lines(read_file))


def _file_mutants(level: Level, path: str, text: str, lines: frozenset[int]) -> Iterator[Mutant]:
    try:
        source = Source(text)
    except (SyntaxError, UnicodeEncodeError):
        return
    seen = {ast.dump(source.tree)}
    heads = _statements(source.tree)
    for edit in sorted(set(edits(source))):
        if not edit.touches(lines) or (edit.kind in _WHOLE and edit.line not in lines):
            continue
        after = source.apply(edit)
        try:
            form = ast.dump(ast.parse(after))
        except (SyntaxError, ValueError):
            continue
        if form not in seen:
            seen.add(form)
            line = next(n for n in range(edit.line, edit.end_line + 1) if n in lines)
            statement = next(span for span in heads if span[0] <= edit.line <= span[1])
            yield Mutant(level.number, level.name, path, line, edit.kind, text, after, statement)


def _statements(tree: ast.AST) -> list[tuple[int, int]]:
    """Return the line ranges of all statements, shortest first; of compound ones only the head."""
    spans = []
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.ExceptHandler):
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if body else node.end_lineno
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            spans.append((first, max(first, end or first)))
    return sorted(spans, key=lambda span: span[1] - span[0])


def sample(mutants: Sequence[Mutant], most: int) -> list[Mutant]:
    """Choose at most ``most`` mutants, always the same: kinds in turn, by hash within a kind.

    So every kind that occurs is in the sample, if it is large enough.
    """
    queues: dict[Kind, list[Mutant]] = {}
    for mutant in sorted(mutants, key=lambda each: each.key):
        queues.setdefault(mutant.kind, []).append(mutant)
    chosen: set[str] = set()
    while len(chosen) < min(most, len({mutant.key for mutant in mutants})):
        for queue in queues.values():
            if queue and len(chosen) < most:
                chosen.add(queue.pop(0).key)
    return [mutant for mutant in mutants if mutant.key in chosen]


MutantStatus = Literal["caught", "survived", "not run", "equivalent"]
"""``caught``: a verdict turned bad. ``survived``: every recipe that runs the changed line passed.
``not run``: no recipe runs that line. ``equivalent``: listed by hand as not a mistake."""


@dataclass(frozen=True)
class MutantResult:
    """One mutant's status. ``by`` names the recipe that caught it, ``detail`` the verdict."""

    mutant: Mutant
    status: MutantStatus
    by: str = ""
    detail: str = ""

    @property
    def missed(self) -> bool:
        """Whether a mistake went unnoticed."""
        return self.status in ("survived", "not run")


@dataclass(frozen=True)
class LevelScore:
    """How many of a level's mutants have which status; ``level`` is "all" for the sum."""

    level: str
    caught: int
    survived: int
    not_run: int
    equivalent: int

    @property
    def total(self) -> int:
        return self.caught + self.survived + self.not_run + self.equivalent

    @property
    def score(self) -> float | None:
        """The share caught of the mutants that are mistakes; None where there are none."""
        mistakes = self.total - self.equivalent
        return self.caught / mistakes if mistakes else None


def _score(level: str, results: Iterable[MutantResult]) -> LevelScore:
    counts = Counter(result.status for result in results)
    return LevelScore(level, *(counts[status] for status in get_args(MutantStatus)))


def level_scores(results: Sequence[MutantResult]) -> list[LevelScore]:
    """Return one score per level, in their order, and one for all."""
    names = dict.fromkeys(result.mutant.level_name for result in results)
    scores = [_score(name, (r for r in results if r.mutant.level_name == name)) for name in names]
    return [*scores, _score("all", results)]


def scores_json(port: str, results: Sequence[MutantResult], possible: int) -> dict[str, Any]:
    """Return everything as plain values; ``possible``: the number of mutants before sampling."""
    return {
        "port": port,
        "possible": possible,
        "levels": [asdict(each) | {"score": each.score} for each in level_scores(results)],
        "mutants": [
            one.mutant.names
            | dict(zip(("before", "after"), one.mutant.changed, strict=True))
            | {"fate": one.status, "by": one.by, "detail": one.detail}
            for one in results
        ],
    }


@dataclass(frozen=True, kw_only=True)
class MutantLevel(NamedLevel):
    """A level with one file replaced by a mutant's. ``tree`` names it, but is no git object."""

    mutated: tuple[LevelTree, Mutant]


def mutant_level(level: LevelTree, mutant: Mutant) -> MutantLevel:
    """Return the level that a mutant makes of ``level``."""
    text = f"mutant\0{level.tree}\0{mutant.path}\0{mutant.after}"
    tree = hashlib.sha1(text.encode(errors="surrogateescape")).hexdigest()
    return MutantLevel(level.number, level.name, tree, level.off, mutated=(level, mutant))


class MutantTrees:
    """The trees of a port, and those of :class:`MutantLevel`. Thread-safe.

    Implements :class:`porter.verify.plan.trees.Trees`.
    """

    def __init__(self, trees: Trees, scratch: Path) -> None:
        self._scratch = scratch
        self._lock = threading.Lock()
        self._trees = trees
        self.levels, self.find = trees.levels, trees.find

    def remove(self, mutant: Mutant) -> None:
        """Delete the folders of a mutant that has been tried."""
        shutil.rmtree(self._scratch / mutant.key, ignore_errors=True)

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:
        """See :class:`porter.verify.plan.trees.Trees`."""
        base, mutant = level.mutated if isinstance(level, MutantLevel) else (level, None)
        with self._lock:
            unchanged = self._trees.folder(port, base, needs)
        if mutant is None:
            return unchanged
        name = hashlib.sha256("\0".join(needs).encode()).hexdigest()[:16]
        folder = self._scratch / mutant.key / name
        if not folder.is_dir():
            self.mend(unchanged)
            _write(unchanged, folder, mutant)
        return folder

    def mend(self, folder: Path) -> str:
        """See :class:`porter.verify.plan.trees.Trees`; a mutant's own folder is not compared."""
        with self._lock:
            return self._trees.mend(folder)


def _write(unchanged: Path, folder: Path, mutant: Mutant) -> None:
    shutil.copytree(unchanged, folder, symlinks=True, copy_function=_link)
    path = folder / mutant.path
    if path.is_file():
        path.unlink()  # a link to the shared file: not to be written through
        path.write_bytes(mutant.after.encode("utf-8", "surrogateescape"))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
