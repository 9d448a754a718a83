"""Describe a rule of `porter scan`: why, on which device, what mends it, an example.

Without RULE the rules are listed.
"""

from __future__ import annotations

import argparse

from porter.errors import Exit

EXAMPLES = (
    ("porter explain", "list the rules"),
    ("porter explain PT101", "why code should not choose a device by the name of CUDA"),
    ("porter explain mark-step", "the same by a rule's name"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "a code, the beginning of one (PT4), or a name"
    parser.add_argument("rule", nargs="?", metavar="RULE", help=text)


def run(args: argparse.Namespace) -> int:
    from porter.scan.pages import overview, page
    from porter.scan.rules.registry import find_rules
    from porter.terminal import colour_wanted, emit, table

    if args.rule is None:
        head = ("CODE", "RULE", "HPU", "NPU", "WHAT IT FINDS")
        emit(table(overview(), head=head, colour=colour_wanted()))
        return Exit.OK
    for number, rule in enumerate(find_rules(args.rule)):
        emit([*([""] if number else []), *page(rule)])
    return Exit.OK
