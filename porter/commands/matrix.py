"""Print everything to verify as a CI job matrix: port x level x device, as JSON.

It is read from recipes and series alone and needs no torch, no upstream and no network.
"""

from __future__ import annotations

import argparse

from porter.commands.options import add_ports, add_repeated, project_folder, the_ports

EXAMPLES = (
    ("porter matrix --github", "one line for $GITHUB_OUTPUT: every port, level and device"),
    (
        "porter matrix v-diffusion --tag quick --text",
        "the jobs of one port's quick recipes, as a table",
    ),
    ("porter matrix --device 'sim:*' --device cpu", "only jobs that need no accelerator"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_ports(parser, "ports (default: all with recipes)")
    add_repeated(parser, "--tag", "TAG", "only recipes with a tag that matches this pattern")
    add_repeated(parser, "--device", "DEVICE", "only devices that match this pattern ('sim:*')")
    parser.add_argument(
        "--runs-on",
        action="append",
        default=[],
        metavar="DEVICE=LABEL,...",
        type=_labels,
        help="labels of the runner for a device; default: ubuntu-latest for cpu and simulated "
        "devices, self-hosted,DEVICE for real ones",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--github", action="store_true", help="print one line for $GITHUB_OUTPUT: matrix={...}"
    )
    form.add_argument("--text", action="store_true", help="print a table for people")


def _labels(text: str) -> tuple[str, tuple[str, ...]]:
    device, _, labels = text.partition("=")
    names = tuple(label.strip() for label in labels.split(",") if label.strip())
    if not device or not names:
        raise argparse.ArgumentTypeError(f"expected DEVICE=LABEL,..., found {text!r}")
    return device, names


def run(args: argparse.Namespace) -> int:
    from porter.terminal import colour_wanted, emit, emit_json, table
    from porter.verify.plan.ci_matrix import as_matrix, github_output, jobs, table_rows

    found = jobs(project_folder(args), the_ports(args), args.tag, args.device)
    runners = dict(args.runs_on)
    if args.github:
        emit([github_output(found, runners)])
    elif args.text:
        head = ("PORT", "LEVEL", "DEVICE", "RECIPES")
        emit(table(list(table_rows(found)), head=head, colour=colour_wanted()))
    else:
        emit_json(as_matrix(found, runners))
    return 0
