"""What a rule is: a class with a code, a reason per device, an example and the search itself.

A rule is one small class in :mod:`porter.scan.rules`. Its page (``porter explain``) and its row of
docs/scan.md are made from the class, and a test runs it on its own example.
"""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from porter.scan.reading.module import Device as Device
from porter.scan.reading.module import Module

DEVICES: tuple[Device, ...] = ("hpu", "npu")
Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""error: it stops or computes something else; warning: slower, or other numbers; note: look."""
Sureness = Literal["sure", "likely", "possible", "measured"]
SURENESS: tuple[Sureness, ...] = ("sure", "likely", "possible", "measured")
OWN_READING = "porter's own reading"
"""The source of a reason that no vendor's page states in these words."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a rule holds on one device, how grave it is there, and the source of that."""

    severity: Severity
    text: str
    source: str = OWN_READING


@dataclass(frozen=True, slots=True)
class Spot:
    """A node that a rule found. ``what`` says what stands there, in a few words.

    ``milder`` lowers the severity by so many steps; ``devices`` leaves only some of the rule's.
    """

    node: ast.expr | ast.stmt
    what: str
    sure: Sureness = "sure"
    milder: int = 0
    devices: tuple[Device, ...] = DEVICES


@dataclass(frozen=True, slots=True)
class ScanFinding:
    """A spot in a file. ``severity`` holds the devices it matters on; ``source`` is its line.

    ``last`` is the last line of its code. ``measured`` says what runs on simulated devices counted
    there, in a sentence for each device.
    """

    file: str
    line: int
    column: int
    code: str
    rule: str
    source: str
    what: str
    sure: Sureness
    severity: Mapping[Device, Severity] = field(default_factory=dict)
    last: int = 0
    measured: tuple[str, ...] = ()

    @property
    def gravest(self) -> Severity:
        """The gravest severity on any device."""
        return min(self.severity.values(), key=SEVERITIES.index)


class Rule(ABC):
    """One thing that accelerators trip over; subclasses are the rules."""

    code: ClassVar[str]
    name: ClassVar[str]
    title: ClassVar[str]
    mend: ClassVar[str]
    reasons: ClassVar[Mapping[Device, Reason]]
    learnt: ClassVar[tuple[str, ...]] = ()
    """The patches in which the rule was learnt, below ``patches/``."""
    before: ClassVar[str]
    """Code in which the rule finds every line that ends in ``# <-``, and no other."""
    after: ClassVar[str]
    """The same code mended, in which it finds nothing."""
    served: ClassVar[bool] = False
    """Whether a vendor's migration of CUDA calls serves what the rule finds."""

    @abstractmethod
    def find(self, module: Module) -> Iterator[Spot]:
        """Yield the spots of a file."""


def milder(severity: Severity, steps: int) -> Severity:
    """Return a severity lowered by so many steps; a note stays a note."""
    return SEVERITIES[min(SEVERITIES.index(severity) + steps, len(SEVERITIES) - 1)]
