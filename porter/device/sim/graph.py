"""Lazy graphs: ops accumulate, a step ends the graph, a new signature is a compilation.

What the vendor says (Intel Gaudi documentation, `mark_step reference
<https://docs.habana.ai/en/latest/PyTorch/Reference/mark_step.html>`_ and `theory of operations
<https://docs.habana.ai/en/latest/PyTorch/PyTorch_Gaudi_Theory_of_Operations.html>`_): in lazy mode
ops accumulate until ``mark_step``; then a cached graph that matches them is looked for; when there
is none the graph is lowered, compiled and launched; reading a value on the host ends the graph too.
``PT_HPU_LAZY_MODE`` chooses: 1 is lazy, 0 is eager with torch.compile, and 0 is the default of
today's software (`runtime flags <https://docs.habana.ai/en/latest/PyTorch/Runtime_Flags.html>`_; up
to 1.19 the default was 1). ``mark_step`` does nothing in eager mode.

A graph's signature here: per op its name, its tensor operands as positions in the graph, its other
arguments; per graph input also shape, strides and dtype. This is a model of the vendor's key, which
is not published: trust how the count grows with steps, not its absolute value.

The cost of knowing the signature must stay out of the way of op-bound models, hence the shape of
:meth:`LazyGraphs.watch`: every op is reduced to one small tuple (its *token*) and compared with the
token at the same place of the graph that is expected to come; while they agree nothing is stored,
and a repeated graph ends without hashing. User lines are looked up only for tokens that disagree.
Tokens are compared by equality, so they are built such that equal means same: ``1``, ``1.0`` and
``True`` differ. Digests are of the marshalled tokens and equal across processes.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch

from porter.device.sim.difference import differences
from porter.device.sim.dispatch import Watch
from porter.device.sim.facts import OpFacts
from porter.device.sim.recipes import RecipeFolder
from porter.device.sim.sites import Site
from porter.device.sim.spots import ForwardSpots, Spot, site_of

Token = tuple[Any, ...]

_TENSOR, _PLAIN, _FLOAT, _BOOL, _SEQUENCE, _OMIT, _NAMED = range(7)
_kind_of_type: dict[type, int] = {
    int: _PLAIN,
    str: _PLAIN,
    type(None): _PLAIN,
    float: _FLOAT,
    bool: _BOOL,
    list: _SEQUENCE,
    tuple: _SEQUENCE,
    torch.Tensor: _TENSOR,
    torch.Generator: _OMIT,  # the seed is an input of the compiled graph, not part of it
}
_names = [f"%{number}" for number in range(4096)]


def _learn_kind(of: type) -> int:
    if issubclass(of, torch.Tensor):
        kind = _TENSOR
    elif issubclass(of, torch.Generator):
        kind = _OMIT
    elif issubclass(of, (list, tuple)):
        kind = _SEQUENCE
    else:
        kind = _NAMED  # dtypes, layouts, memory formats, devices, complex numbers
    _kind_of_type[of] = kind
    return kind


def describe(tensor: torch.Tensor) -> Token:
    """Return what a compiled graph fixes about an input: shape, strides (or layout) and dtype."""
    if tensor.layout is torch.strided:
        return (tuple(tensor.shape), tensor.stride(), str(tensor.dtype))
    return (tuple(tensor.shape), str(tensor.layout), str(tensor.dtype))


@dataclass(frozen=True, slots=True)
class Compilation:
    """A graph whose signature had not been seen before.

    ``why`` is what ended the graph ("mark_step", "host read by aten._local_scalar_dense"),
    ``ended`` the user's line of it, ``nearest`` the number of the earlier compilation most like
    this one, and ``differs`` what set them apart, in words, first differences first.
    """

    number: int
    ops: int
    why: str
    ended: Site
    nearest: int | None
    differs: tuple[str, ...]
    from_disk: bool = False


class _Recipe:
    """A graph seen before: its tokens, and the user's line of each."""

    __slots__ = ("digest", "following", "number", "spots", "tokens")

    def __init__(
        self, number: int, digest: bytes, tokens: list[Token], spots: list[Spot | None]
    ) -> None:
        self.number = number
        self.digest = digest
        self.tokens = tokens
        self.spots = spots
        self.following: _Recipe | None = None


class LazyGraphs:
    """Accumulates ops into graphs and counts graphs, compilations and cache hits.

    An :class:`~porter.device.sim.dispatch.Observer` of the ops; :meth:`step` is to be called at
    ``mark_step`` and at whatever else ends a graph. It marks the tensors it sees with an attribute,
    ``_porter_value``; whoever changes a tensor's shape behind its back (``p.data = x``) must delete
    it.

    ``holds(op)`` says whether an op can be part of a graph (one that falls back to the CPU cannot);
    ``keep`` recent graphs are held whole for telling what differed; of older ones only the digest.
    """

    def __init__(
        self,
        folder: RecipeFolder | None = None,
        *,
        keep: int = 32,
        forward: ForwardSpots | None = None,
        holds: Callable[[OpFacts], bool] = lambda _op: True,
        on_compilation: Callable[[Compilation], None] | None = None,
    ) -> None:
        self.graphs = 0
        self.compilations = 0
        self.cache_hits = 0
        self.disk_hits = 0
        self.ops = 0
        self.largest = 0
        self.log: list[Compilation] = []
        self._folder = folder
        self._keep = keep
        self._forward = forward or ForwardSpots()
        self._holds = holds
        self._on_compilation = on_compilation
        self._digests: dict[bytes, int] = {}
        self._held: dict[bytes, _Recipe] = {}
        self._previous: _Recipe | None = None
        self._expect(None)

    @property
    def pending(self) -> int:
        """Ops accumulated since the last step."""
        return self._count

    def _expect(self, recipe: _Recipe | None) -> None:
        """Start an empty graph that is expected to become ``recipe``."""
        self._graph = object()
        self._count = 0
        self._values = 0
        self._expected = recipe.tokens if recipe else []
        self._expected_spots = recipe.spots if recipe else []
        self._recipe = recipe
        self._on_track = True
        self._tokens: list[Token] = []
        self._spots: list[Spot | None] = []

    def watch(self, op: OpFacts) -> Watch | None:
        """Return the callback that adds a run of ``op`` to the graph."""
        if op.reads_host or not self._holds(op):
            return None
        if op.packet == "aten.copy_":
            return Watch(self._before_copy, self._after_copy(self._after(op)))
        return Watch(after=self._after(op))

    def _before_copy(self, args: Any, _kwargs: Any) -> None:
        """End the graph before the host writes into a tensor that pending ops produce."""
        into, source = args[0], args[1]
        if type(into) is not type(source) and type(source) is torch.Tensor:
            value = getattr(into, "_porter_value", None)
            if value is not None and value[0] is self._graph and len(value) == 2:
                self.step("copy from the host into a pending tensor")

    def _after_copy(self, after: Callable[[Any, Any, Any], None]) -> Any:
        """Copies between host and device are launched by themselves, outside any graph."""

        def after_copy(args: Any, kwargs: Any, out: Any) -> None:
            if type(args[0]) is type(args[1]):
                after(args, kwargs, out)
            elif hasattr(args[0], "_porter_value"):
                del args[0]._porter_value

        return after_copy

    def _after(self, facts: OpFacts) -> Callable[[Any, Any, Any], None]:
        """Make the function that every run of ``facts.op`` calls. Hot."""
        me, op_name, encode, kind_of = self, facts.name, self._encode, _kind_of_type.get
        plain_result = facts.returns_tensors in (("fresh",), ("view",)) and not facts.mutates
        is_dynamic = facts.is_dynamic_shape
        dispatched = facts.returns_tensors

        def after(args: Any, kwargs: Any, out: Any) -> None:
            graph = me._graph
            token: list[Any] = [op_name]
            for arg in args:
                kind = kind_of(type(arg))
                if kind == _TENSOR:
                    try:
                        value = arg._porter_value
                        token.append(value[1] if value[0] is graph else me._input(arg, value))
                    except AttributeError:
                        token.append(me._input(arg, None))
                elif kind == _PLAIN:
                    token.append(arg)
                else:
                    token.append(encode(arg))
            if kwargs:
                for keyword in kwargs:
                    token.append((keyword, encode(kwargs[keyword])))
            if plain_result:
                number = me._values
                me._values = number + 1
                out._porter_value = (graph, _name(number))
            elif dispatched:
                me._outputs(facts, out)
            if is_dynamic:
                token.append(("->", *_shapes(out)))
            me._add(tuple(token))

        return after

    def _add(self, token: Token) -> None:
        place = self._count
        self._count = place + 1
        if self._on_track:
            expected = self._expected
            if place < len(expected) and expected[place] == token:
                return
            self._leave_track(place)
        self._store(place, token)

    def _leave_track(self, place: int) -> None:
        self._on_track = False
        self._tokens = self._expected[:place]
        self._spots = self._expected_spots[:place]

    def _store(self, place: int, token: Token) -> None:
        """Keep a token that was not expected; where tokens agree again the user's line is known."""
        self._tokens.append(token)
        expected = self._expected
        if place < len(expected) and expected[place] == token:
            self._spots.append(self._expected_spots[place])
        else:
            self._forward.note(2)
            self._spots.append(self._forward.here(2))

    def _input(self, tensor: torch.Tensor, value: Any) -> Token:
        """Name a tensor that this graph has not seen; its description is part of the token."""
        seen = value[2] if value is not None and len(value) == 3 else describe(tensor)
        name = _name(self._values)
        self._values += 1
        tensor._porter_value = (self._graph, name, seen)  # type: ignore[attr-defined]
        return (name, seen)

    def _encode(self, arg: Any) -> Any:
        of = type(arg)
        kind = _kind_of_type.get(of)
        if kind is None:
            kind = _learn_kind(of)
        if kind == _PLAIN:
            return arg
        if kind == _TENSOR:
            value = getattr(arg, "_porter_value", None)
            if value is not None and value[0] is self._graph:
                return value[1]
            return self._input(arg, value)
        if kind == _FLOAT:
            return ("float", arg)
        if kind == _BOOL:
            return "#true" if arg else "#false"
        if kind == _SEQUENCE:
            return tuple([self._encode(each) for each in arg])
        return "" if kind == _OMIT else str(arg)

    def _outputs(self, facts: OpFacts, out: Any) -> None:
        """Name what an op returned, except arguments that it wrote to and handed back."""
        if isinstance(out, (tuple, list)):
            kinds = facts.returns_tensors
            for place, each in enumerate(out):
                written = facts.mutates and place < len(kinds) and kinds[place] == "written"
                if not written:
                    self._outputs_one(each)
        elif torch.Tag.inplace_view in facts.op.tags:
            self._outputs_one(out)

    def _outputs_one(self, out: Any) -> None:
        if isinstance(out, torch.Tensor):
            out._porter_value = (self._graph, _name(self._values))  # type: ignore[attr-defined]
            self._values += 1
        elif isinstance(out, (tuple, list)):
            for each in out:
                self._outputs_one(each)

    def step(self, why: str = "mark_step", spot: Spot | None = None) -> Compilation | None:
        """End the accumulated graph; return the compilation it caused, if it did.

        ``spot`` is the user's place that ended it, found by walking the stack if not given. A step
        with nothing accumulated launches nothing and is not counted.
        """
        if not self._count:
            return None
        self.graphs += 1
        self.ops += self._count
        self.largest = max(self.largest, self._count)
        compilation = None
        recipe = self._recipe
        if self._on_track and recipe is not None and self._count == len(recipe.tokens):
            self.cache_hits += 1
        else:
            if self._on_track:
                self._leave_track(self._count)
            recipe, compilation = self._look_up(why, spot)
        if self._previous is not None:
            self._previous.following = recipe
        self._previous = recipe
        self._expect(recipe.following or recipe)
        return compilation

    def _look_up(self, why: str, spot: Spot | None) -> tuple[_Recipe, Compilation | None]:
        digest = blake2b(marshal.dumps(self._tokens, 2), digest_size=16).digest()
        recipe = self._held.get(digest)
        if recipe is not None:
            self.cache_hits += 1
            return recipe, None
        known = self._digests.get(digest)
        compilation = None
        if known is None:
            known = len(self._digests) + 1
            self._digests[digest] = known
            on_disk = self._folder is not None and not self._folder.add(digest.hex())
            compilation = self._compiled(known, why, spot, on_disk)
        else:
            self.cache_hits += 1
        recipe = _Recipe(known, digest, self._tokens, self._spots)
        self._held[digest] = recipe
        if len(self._held) > self._keep:
            del self._held[next(iter(self._held))]
        return recipe, compilation

    def _compiled(self, number: int, why: str, spot: Spot | None, on_disk: bool) -> Compilation:
        if on_disk:
            self.disk_hits += 1
        else:
            self.compilations += 1
        nearest, words = self._nearest()
        ended = site_of(spot or self._forward.here(4))
        compilation = Compilation(
            number,
            len(self._tokens),
            why,
            ended,
            nearest.number if nearest is not None else None,
            words,
            on_disk,
        )
        self.log.append(compilation)
        if self._on_compilation is not None:
            self._on_compilation(compilation)
        return compilation

    def _nearest(self) -> tuple[_Recipe | None, tuple[str, ...]]:
        """Find the held graph with the fewest differing ops, the expected one first."""
        candidates = [self._recipe] if self._recipe is not None else []
        candidates += [held for held in reversed(self._held.values()) if held is not self._recipe]
        best: _Recipe | None = None
        fewest = -1
        for candidate in candidates:
            count = _count_differences(self._tokens, candidate.tokens)
            if best is None or count < fewest:
                best, fewest = candidate, count
            if fewest <= 4:
                break
        if best is None:
            return None, ()
        spots, old_spots = self._spots, best.spots
        return best, differences(
            self._tokens, best.tokens, lambda i: site_of(spots[i]), lambda i: site_of(old_spots[i])
        )


def _shapes(out: Any) -> list[tuple[int, ...]]:
    """Shapes of results whose size the data decided: part of what the next ops are compiled for."""
    several = out if isinstance(out, (tuple, list)) else (out,)
    return [tuple(each.shape) for each in several if isinstance(each, torch.Tensor)]


def _count_differences(new: list[Token], old: list[Token]) -> int:
    differing = sum(1 for one, other in zip(new, old, strict=False) if one != other)
    return differing + abs(len(new) - len(old))


def _name(number: int) -> str:
    """The name of a graph's n-th value, shared between graphs so that comparing is by identity."""
    try:
        return _names[number]
    except IndexError:
        _names.extend(f"%{more}" for more in range(len(_names), number + 4096))
        return _names[number]
