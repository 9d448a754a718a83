"""Describe a rule of `porter scan`: why, on which device, what mends it, an example.

Without RULE the rules are listed.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from porter.errors import Exit

if TYPE_CHECKING:
    from porter.scan.measuring.kinds import MeasuredKind

EXAMPLES = (
    ("porter explain", "list the rules"),
    ("porter explain PT101", "why code should not choose a device by the name of CUDA"),
    ("porter explain mark-step", "the same by a rule's name"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "a code, the beginning of one (PT4), or a name"
    parser.add_argument("rule", nargs="?", metavar="RULE", help=text)


def _is_meant(text: str, kind: MeasuredKind) -> bool:
    return text == kind.name or (len(text) > 2 and kind.code.startswith(text.upper()))


def run(args: argparse.Namespace) -> int:
    from porter.scan.measuring.kinds import KINDS
    from porter.scan.measuring.kinds import page as measured_page
    from porter.scan.pages import overview, page
    from porter.scan.rules.registry import find_rules
    from porter.terminal import colour_wanted, emit, table

    if args.rule is None:
        head = ("CODE", "RULE", "HPU", "NPU", "WHAT IT FINDS")
        emit(table(overview(), head=head, colour=colour_wanted()))
        return Exit.OK
    measured = [kind for kind in KINDS.values() if _is_meant(args.rule, kind)]
    pages = [page(rule) for rule in ([] if measured else find_rules(args.rule))]
    for number, lines in enumerate([*pages, *map(measured_page, measured)]):
        emit([*([""] if number else []), *lines])
    return Exit.OK
