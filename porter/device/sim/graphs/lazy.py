"""Lazy graphs: ops accumulate, a step ends the graph, a new signature is a compilation.

The vendor's description (Intel Gaudi documentation, `mark_step reference
<https://docs.habana.ai/en/latest/PyTorch/Reference/mark_step.html>`_ and `theory of operations
<https://docs.habana.ai/en/latest/PyTorch/PyTorch_Gaudi_Theory_of_Operations.html>`_): in lazy mode
ops accumulate until ``mark_step``; then a matching graph is looked up in the cache; without one the
graph is lowered, compiled and launched; reading a value on the host ends the graph too.
``PT_HPU_LAZY_MODE`` selects: 1 is lazy, 0 is eager with torch.compile, and 0 is the default of
today's software (`runtime flags <https://docs.habana.ai/en/latest/PyTorch/Runtime_Flags.html>`_; up
to 1.19 the default was 1). ``mark_step`` does nothing in eager mode.

A graph's signature here: per op its name, its tensor operands as positions in the graph, its other
arguments; per graph input also shape, strides and dtype. This is a model of the vendor's key, which
is not published: trust how the count grows with steps, not its absolute value.

Computing signatures must cost little even for op-bound models: every op is reduced to one small
tuple (its token, :mod:`porter.device.sim.graphs.signature`) and compared with the token at the same
position of the graph that is expected next; while they agree nothing is stored, and a repeated
graph ends without hashing. User lines are looked up only for tokens that differ. Digests are of the
marshalled tokens and equal across processes.
"""

from __future__ import annotations

import marshal
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from porter.device.sim.core.dispatch import Watch
from porter.device.sim.core.op_schema import OpFacts
from porter.device.sim.graphs.signature import Tape, Token, generate
from porter.device.sim.graphs.signature_diff import differences
from porter.interception.source_lines import CodeMark, ForwardMarks, Site, site_of


@dataclass(frozen=True, slots=True)
class Compilation:
    """A graph with a signature that is new in this process.

    ``why`` is what ended the graph ("mark_step", "host read by aten._local_scalar_dense"),
    ``ended`` the user's line of that, ``nearest`` the number of the earlier compilation most like
    this one, and ``differs`` describes their differences in program order.
    """

    number: int
    ops: int
    why: str
    ended: Site
    nearest: int | None
    differs: tuple[str, ...]
    from_disk: bool = False

    def as_json(self, root: Path | None = None) -> dict[str, Any]:
        """Return the compilation as JSON-able data, with sites relative to ``root``."""
        inside = "" if root is None else f" at {root.as_posix().rstrip('/')}/"
        return {
            **asdict(self),
            "ended": str(self.ended.relative_to(root)),
            "differs": [text.replace(inside, " at ") if inside else text for text in self.differs],
        }


class RecipeFolder:
    """The on-disk cache of compiled graphs ("recipes"): one process compiles, the others read.

    A recipe is an empty file named after the graph's digest: enough to tell a compilation from a
    recipe read from disk. Two processes may use it at once: each file is made by exactly one.
    """

    def __init__(self, path: Path, *, clear: bool = False) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        if clear:
            for old in path.glob("*.recipe"):
                old.unlink(missing_ok=True)

    def add(self, digest: str) -> bool:
        """Add a recipe. Returns whether it is new, so that this process compiles it."""
        try:
            os.close(os.open(self.path / f"{digest}.recipe", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


def folder_from_environment(environ: Mapping[str, str]) -> RecipeFolder | None:
    """Return the folder that ``PT_HPU_RECIPE_CACHE_CONFIG`` (or its older name) sets, if any.

    Its fields (`runtime flags <https://docs.habana.ai/en/latest/PyTorch/Runtime_Flags.html>`_):
    path, whether to clear it first, size in MB, whether it is on NFS.
    """
    config = environ.get("PT_HPU_RECIPE_CACHE_CONFIG", "").split(",")
    path = config[0] or environ.get("PT_RECIPE_CACHE_PATH", "")
    if not path:
        return None
    clear = config[1] if len(config) > 1 else environ.get("PT_CACHE_FOLDER_DELETE", "")
    return RecipeFolder(Path(path), clear=clear.strip().lower() in ("true", "1"))


_KEPT = 32


@dataclass(eq=False)
class _Recipe:
    """A compiled graph: its tokens, and the user's line of each."""

    number: int
    tokens: list[Token]
    marks: list[CodeMark | None]
    following: _Recipe | None = None

    @cached_property
    def names(self) -> Counter[str]:
        """How often each op occurs."""
        return Counter([token[0] for token in self.tokens])


class LazyGraphs:
    """Accumulates ops into graphs and counts graphs, compilations and cache hits.

    An :class:`~porter.device.sim.core.dispatch.Observer` of the ops; call :meth:`step` at
    ``mark_step`` and wherever else a graph ends. It marks tensors with an attribute,
    ``_porter_value``; code that changes a tensor's shape without an op (``p.data = x``) must delete
    it.

    ``holds(op)`` says whether an op can be part of a graph (one that falls back to the CPU cannot).
    The last 32 graphs are stored whole, to describe differences; of older ones the digest.
    """

    def __init__(
        self,
        folder: RecipeFolder | None = None,
        *,
        forward: ForwardMarks | None = None,
        holds: Callable[[OpFacts], bool] = lambda _op: True,
    ) -> None:
        self.reset_counts()
        self._folder = folder
        self._forward = forward or ForwardMarks()
        self._holds = holds
        self._digests: dict[bytes, int] = {}
        self._recipes: dict[bytes, _Recipe] = {}
        self._previous: _Recipe | None = None
        self._tape = Tape(self._unexpected)
        self._expect(None)

    def reset_counts(self) -> None:
        """Restart all counts at zero; graphs stay compiled."""
        self.graphs = 0
        self.compilations = 0
        self.cache_hits = 0
        self.disk_hits = 0
        self.ops = 0
        self.largest = 0
        self.log: list[Compilation] = []

    def as_json(self, root: Path | None = None) -> dict[str, Any]:
        """Return counts and compilations as JSON-able data, with sites relative to ``root``.

        ``pending`` ops were accumulated after the last step and never launched.
        """
        return {
            "graphs": self.graphs,
            "compilations": self.compilations,
            "cache_hits": self.cache_hits,
            "disk_hits": self.disk_hits,
            "ops": self.ops,
            "ops_per_graph": round(self.ops / self.graphs, 1) if self.graphs else 0.0,
            "largest": self.largest,
            "pending": self.pending,
            "compiled": [each.as_json(root) for each in self.log],
        }

    @property
    def pending(self) -> int:
        """Ops accumulated since the last step."""
        return self._tape.count

    def _expect(self, recipe: _Recipe | None) -> None:
        """Start an empty graph that is expected to become ``recipe``."""
        self._tape.start(recipe.tokens if recipe else [])
        self._recipe = recipe
        self._tokens: list[Token] = []
        self._marks: list[CodeMark | None] = []

    def watch(self, op: OpFacts) -> Watch | None:
        if op.reads_host or not self._holds(op):
            return None
        if op.packet == "aten.copy_":
            return Watch(self._before_copy, self._after_copy(generate(self._tape, op)))
        return Watch(after=generate(self._tape, op))

    def _before_copy(self, args: Any, _kwargs: Any) -> None:
        """End the graph before the host writes into a tensor that pending ops produce."""
        into, source = args[0], args[1]
        if type(into) is not type(source) and type(source) is torch.Tensor:
            value = getattr(into, "_porter_value", None)
            if value is not None and value[0] is self._tape.graph and len(value) == 2:
                self.step("copy from the host into a pending tensor")

    def _after_copy(self, after: Callable[[Any, Any, Any], None]) -> Any:
        """Return the callback for copies: those between host and device are in no graph."""

        def after_copy(args: Any, kwargs: Any, out: Any) -> None:
            if type(args[0]) is type(args[1]):
                after(args, kwargs, out)
            elif hasattr(args[0], "_porter_value"):
                del args[0]._porter_value

        return after_copy

    def _unexpected(self, position: int, token: Token) -> None:
        """Store the token of an op that was not expected at its position."""
        if self._tape.as_expected:
            self._diverge_at(position)
        self._tokens.append(token)
        recipe = self._recipe
        if (
            recipe is not None
            and position < len(recipe.tokens)
            and recipe.tokens[position] == token
        ):
            self._marks.append(recipe.marks[position])  # they agree again: the line is known
        else:
            self._marks.append(self._forward.of_op(2))

    def _diverge_at(self, position: int) -> None:
        """Store tokens from now on: the graph is not the expected one."""
        self._tape.as_expected = False
        if self._recipe is not None:
            self._tokens = self._recipe.tokens[:position]
            self._marks = self._recipe.marks[:position]

    def step(self, why: str = "mark_step") -> Compilation | None:
        """End the accumulated graph; return the compilation it caused, if it did.

        A step with nothing accumulated launches nothing and is not counted.
        """
        if not self._tape.count:
            return None
        self.graphs += 1
        self.ops += self._tape.count
        self.largest = max(self.largest, self._tape.count)
        compilation = None
        recipe = self._recipe
        if self._tape.as_expected and recipe is not None and self._tape.count == len(recipe.tokens):
            self.cache_hits += 1
        else:
            if self._tape.as_expected:
                self._diverge_at(self._tape.count)
            recipe, compilation = self._look_up(why)
        if self._previous is not None:
            self._previous.following = recipe
        self._previous = recipe
        self._expect(recipe.following or recipe)
        return compilation

    def _look_up(self, why: str) -> tuple[_Recipe, Compilation | None]:
        digest = blake2b(marshal.dumps(self._tokens, 2), digest_size=16).digest()
        recipe = self._recipes.get(digest)
        if recipe is not None:
            self.cache_hits += 1
            return recipe, None
        known = self._digests.get(digest)
        compilation = None
        if known is None:
            known = len(self._digests) + 1
            self._digests[digest] = known
            on_disk = self._folder is not None and not self._folder.add(digest.hex())
            compilation = self._compiled(known, why, on_disk)
        else:
            self.cache_hits += 1
        recipe = _Recipe(known, self._tokens, self._marks)
        self._recipes[digest] = recipe
        if len(self._recipes) > _KEPT:
            del self._recipes[next(iter(self._recipes))]
        return recipe, compilation

    def _compiled(self, number: int, why: str, on_disk: bool) -> Compilation:
        self.disk_hits += on_disk
        self.compilations += not on_disk
        nearest, differs = self._nearest()
        ended = site_of(self._forward.here(4))
        near = nearest.number if nearest is not None else None
        found = Compilation(number, len(self._tokens), why, ended, near, differs, on_disk)
        self.log.append(found)
        return found

    def _nearest(self) -> tuple[_Recipe | None, tuple[str, ...]]:
        """Find a similar stored graph, the expected one first, and describe the differences."""
        candidates = [self._recipe] if self._recipe is not None else []
        candidates += [
            each for each in reversed(self._recipes.values()) if each is not self._recipe
        ]
        names = Counter([token[0] for token in self._tokens])
        near = max(4, len(self._tokens) // 4)
        best: _Recipe | None = None
        fewest = len(self._tokens) + 1
        for candidate in candidates:
            count = _distance(self._tokens, names, candidate)
            if count < fewest:
                best, fewest = candidate, count
            if fewest <= near:
                break
        if best is None:
            return None, ("unlike any earlier graph",) if candidates else ()
        marks, old_marks = self._marks, best.marks
        return best, differences(
            self._tokens, best.tokens, lambda i: site_of(marks[i]), lambda i: site_of(old_marks[i])
        )


def _distance(tokens: list[Token], names: Counter[str], other: _Recipe) -> int:
    """Count the ops that differ; if ops were added or removed, count those instead."""
    other_names = other.names
    if names != other_names:
        return sum((names - other_names).values()) + sum((other_names - names).values())
    return sum(1 for one, another in zip(tokens, other.tokens, strict=True) if one != another)
