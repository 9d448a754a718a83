"""What a simulated device is, as data.

A :class:`Profile` holds everything that differs between devices and is not code: names, dispatch
keys, dtypes, op support, autocast lists. A vendor's facts live beside this module
(:mod:`porter.device.sim.core.profiles`), each with its source and date; nothing else in the
simulator asks "is this hpu?".
"""

from __future__ import annotations

from dataclasses import dataclass, field

OpNames = frozenset[str]
"""Qualified names, ``aten.addmm`` (every overload) or ``aten.addmm.default`` (that one)."""


@dataclass(frozen=True, slots=True)
class AutocastLists:
    """Which ops autocast runs in which precision.

    Names are those of ATen ops without ``aten.``; ``pow`` means every out-of-place overload of it,
    ``pow.Scalar`` that one. An op in several lists follows the first of: refused, low_first, low,
    float32, widest.
    """

    source: str
    low: OpNames = frozenset()
    """All floating tensors are cast to the low precision."""
    low_first: OpNames = frozenset()
    """Only the first argument is (norms whose weights stay in float32)."""
    float32: OpNames = frozenset()
    """All are cast to float32, unless the call names a dtype."""
    widest: OpNames = frozenset()
    """All are cast to the widest dtype among them."""
    refused: OpNames = frozenset()
    caches_weights: bool = True
    """Casts of leaf parameters are kept until the outermost context ends."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A device to simulate. ``name`` is the device type as scripts spell it ("hpu")."""

    name: str
    title: str
    dispatch_key: str
    """Key that factories with this device reach: "CUDA", "HPU" or "PrivateUse1"."""
    autocast_key: str
    autocast_dtypes: tuple[str, ...]
    """Dtypes autocast accepts; the first is the default."""
    autocast: AutocastLists
    device_count: int = 2
    unsupported_dtypes: dict[str, str] = field(default_factory=dict)
    """Dtype name -> "refused" (an error), "cast:float32" (becomes another) or "counted" (kept as it
    is and counted where it appears; what the device makes of it is not modelled)."""
    seed_salt: int = 0
    """Mixed into seeds so that the device's random numbers are not the CPU's. 0 for sim:cuda, which
    draws real CUDA numbers (see :mod:`porter.device.sim.rng.philox`)."""

    @property
    def label(self) -> str:
        """How output names the device: always with the word "simulated" near it."""
        return f"sim:{self.name}"
