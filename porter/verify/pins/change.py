"""Judge how one output of a level differs between two states of its port.

``x`` and ``x'`` are the level's output in the old and the new state; ``h`` and ``h'`` what its
claim compares it with there: the reference (level 0 in float64), level 0 in the run's own dtype for
``equal``, or the run that ``against`` names. In each state the claim bounds ``x - h`` by an
allowance ``a`` (:mod:`porter.verify.judge.parity`). The level keeps what upstream's move changed if

    |(x' - x) - (h' - h)|  <=  a + a'

in every measure of the claim: greatest and root mean square for parity, root mean square for psnr,
element by element for the others. By the triangle inequality this holds for every level that
fulfils the claim in both states, and it fails for a level whose results stand still while
upstream's move, as for one whose results move by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from porter.verify.harness.trace import raw
from porter.verify.judge.noise import Noise, drowned
from porter.verify.judge.parity import (
    greatest,
    loss_allowance,
    no_allowance,
    parity_allowance,
    rms,
    share,
    ulp_sizes,
    worst_share,
)
from porter.verify.judge.tensors import describe, nonfinite
from porter.verify.pins.result import Word
from porter.verify.recipe.claims import Allclose, Claim, Equal, LossCurve, Parity, Psnr, WithinUlps


@dataclass(frozen=True)
class Recorded:
    """One output in one state: of the level, and of the runs that its claim needs.

    ``own`` is level 0's in the level's dtype, ``target`` that of the run that ``against`` names.
    """

    found: torch.Tensor | None
    own: torch.Tensor | None = None
    reference: torch.Tensor | None = None
    target: torch.Tensor | None = None
    noise: Noise | None = None

    @property
    def peer(self) -> torch.Tensor | None:
        """What upstream records in place of this output, in the most similar run."""
        for each in (self.own, self.target, self.reference):
            if each is not None:
                return each
        return None


@dataclass(frozen=True)
class Judged:
    """A word, and the figures of :class:`porter.verify.pins.result.Change`."""

    word: Word
    detail: str = ""
    difference: float | None = None
    upstream: float | None = None
    apart: float | None = None
    allowed: float | None = None
    measure: str = ""


@dataclass(frozen=True)
class _Bound:
    """What a claim holds an output to, in float64, and the most it allows, by measure.

    "max" and "rms" are single numbers, every other measure has one for each element.
    """

    held_to: torch.Tensor
    most: Mapping[str, torch.Tensor]


class _Unbounded(Exception):
    """The claim bounds no difference here; the text says why."""


def judge_change(claim: Claim | None, old: Recorded, new: Recorded) -> Judged:
    """Judge an output in both states by one claim; None: by none."""
    if old.found is None or new.found is None:
        return _judge_presence(old, new)
    if old.found.shape != new.found.shape or old.found.dtype != new.found.dtype:
        return _judge_form(old, new, old.found, new.found)
    difference = _minus(new.found.double(), old.found.double())
    size = greatest(difference)
    if why := _peers_differ(old.peer, new.peer):
        return Judged("differs", why, size)
    is_same = raw(old.found.contiguous()) == raw(new.found.contiguous())
    try:
        before, after = _bound(claim, old, old.found), _bound(claim, new, new.found)
    except _Unbounded as why:
        if is_same or new.found is new.own:  # level 0 is upstream, whatever is claimed of it
            return Judged("same" if is_same else "moved", "", size, size)
        return Judged("unjudged", str(why), size)
    move = _minus(after.held_to, before.held_to)
    apart = _minus(difference, move)
    sums = {name: most + after.most[name] for name, most in before.most.items()}
    measure, error, allowed = _worst(apart, sums)
    word: Word = "moved"
    if share(error, allowed) > 1:
        word = "differs"
    elif is_same:
        word = "same"
    elif share(*_worst(difference, before.most)[1:]) <= 1:
        word = "within"
    detail = _where(old.found, new.found, before, after, apart) if word == "differs" else ""
    return Judged(word, detail, size, greatest(move), error, allowed, measure)


def _judge_presence(old: Recorded, new: Recorded) -> Judged:
    """Judge an output that one state alone records: level 0 must do the same."""
    side = "old" if new.found is None else "new"
    peers = [old.peer is None, new.peer is None]
    if peers == [old.found is None, new.found is None]:
        return Judged("moved", f"recorded in the {side} state only, by upstream too")
    return Judged("differs", f"recorded in the {side} state only, unlike upstream's own")


def _judge_form(old: Recorded, new: Recorded, before: torch.Tensor, after: torch.Tensor) -> Judged:
    """Judge an output of another shape or dtype: it must be level 0's in each state."""
    words = f"{describe(before)} before, {describe(after)} now"
    if old.own is not None and new.own is not None:
        as_upstream = _form(old.own) == _form(before) and _form(new.own) == _form(after)
    elif old.peer is not None and new.peer is not None:
        as_upstream = old.peer.shape == before.shape and new.peer.shape == after.shape
    else:
        return Judged("unjudged", f"{words}; no run of upstream to compare with")
    if as_upstream:
        return Judged("moved", f"{words}, as upstream's own")
    return Judged("differs", f"{words}, unlike upstream's own")


def _peers_differ(old: torch.Tensor | None, new: torch.Tensor | None) -> str:
    """Return how upstream's own output changed in form, though the level's did not; else ""."""
    if old is None and new is None:
        return ""
    if old is None or new is None:
        side = "new" if old is None else "old"
        return f"upstream's own is recorded in the {side} state only, this level's in both"
    if old.shape == new.shape:
        return ""
    words = f"{describe(old)} before, {describe(new)} now"
    return f"upstream's own is {words}, this level's has one shape in both"


def _form(tensor: torch.Tensor) -> tuple[torch.Size, torch.dtype]:
    return tensor.shape, tensor.dtype


def _bound(claim: Claim | None, at: Recorded, found: torch.Tensor) -> _Bound:
    """Return what a claim allows in one state. Raises _Unbounded."""
    if claim is None:
        raise _Unbounded("no claim covers this output")
    kind = claim.kind
    if not isinstance(kind, Parity | LossCurve | Equal | WithinUlps | Allclose | Psnr):
        raise _Unbounded(f"{claim.kind_name} bounds no difference")
    held = at.target if claim.against else at.own if isinstance(kind, Equal) else at.reference
    if held is None:
        raise _Unbounded("the run that its claim compares it with does not record it")
    if bad := nonfinite(held):
        raise _Unbounded(f"the run that its claim compares it with is not finite ({bad})")
    if held.shape != found.shape:
        raise _Unbounded(f"expected {describe(held)} as its claim does, found {describe(found)}")
    if at.noise is not None and (reason := drowned(at.noise)):
        raise _Unbounded(reason)
    exact = held.double()
    if isinstance(kind, Allclose):
        return _Bound(exact, {"abs": kind.atol + kind.rtol * exact.abs()})
    if isinstance(kind, Psnr):
        peak = kind.peak or 255.0
        return _Bound(exact, {"rms": torch.tensor(peak * 10 ** (-kind.at_least / 20))})
    if isinstance(kind, Equal) or not found.is_floating_point():
        return _Bound(exact, {"elements": torch.zeros_like(exact)})
    if isinstance(kind, WithinUlps):
        rounded = held.to(found.dtype).double()
        if bad := nonfinite(rounded):
            raise _Unbounded(f"the reference does not fit into {found.dtype}: {bad}")
        return _Bound(rounded, {"abs": kind.ulps * ulp_sizes(held, found.dtype)})
    return _own_allowance(kind, at, found, exact)


def _own_allowance(
    kind: Parity | LossCurve, at: Recorded, found: torch.Tensor, held_to: torch.Tensor
) -> _Bound:
    """Return the bound that level 0's own error sets. Raises _Unbounded."""
    if at.reference is None or at.own is None:
        raise _Unbounded("level 0 does not record it, so it gives no allowance")
    if reason := no_allowance(at.reference, at.own):
        raise _Unbounded(reason)
    facts = (found.dtype, at.reference, at.own, held_to, at.noise)
    if not isinstance(kind, LossCurve):
        most, mean = parity_allowance(kind, *facts)
        return _Bound(held_to, {"max": torch.tensor(most), "rms": torch.tensor(mean)})
    if found.dim() != 1:
        raise _Unbounded(f"expected a series of steps, found shape {list(found.shape)}")
    return _Bound(held_to, {"loss": loss_allowance(kind, *facts)})


def _minus(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return a - b; equal infinities and two NaN differ by 0, a NaN from anything else by inf."""
    alike = (a == b) | (a.isnan() & b.isnan())
    return torch.where(alike, 0.0, a - b).nan_to_num(torch.inf, torch.inf, -torch.inf)


def _worst(difference: torch.Tensor, most: Mapping[str, torch.Tensor]) -> tuple[str, float, float]:
    """Return the measure in which a difference takes most of what is allowed, and both figures."""
    found = []
    for measure, allowed in most.items():
        if measure == "max":
            found.append((measure, greatest(difference), float(allowed)))
        elif measure == "rms":
            found.append((measure, rms(difference), float(allowed)))
        elif measure == "elements":
            found.append((measure, float((difference != 0).sum()), 0.0))
        elif difference.numel():
            found.append((measure, *worst_share(difference.abs(), allowed)[1:]))
        else:
            found.append((measure, 0.0, 0.0))
    return max(found, key=lambda one: share(*one[1:]))


def _where(
    old: torch.Tensor, new: torch.Tensor, before: _Bound, after: _Bound, apart: torch.Tensor
) -> str:
    """Say where the two differences are furthest apart, and the four values there."""
    flat = int(apart.abs().argmax())
    index = list(torch.unravel_index(torch.tensor(flat), apart.shape)) if apart.dim() else []
    where = f" at [{', '.join(str(int(i)) for i in index)}]" if index else ""
    values = [float(t.reshape(-1)[flat]) for t in (old, new, before.held_to, after.held_to)]
    own = f"{values[0]:.6g} -> {values[1]:.6g}"
    return f"furthest apart{where}: {own}, upstream's {values[2]:.6g} -> {values[3]:.6g}"
