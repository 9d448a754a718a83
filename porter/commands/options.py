"""Arguments that several commands share."""

from __future__ import annotations

import argparse


def add_folder(parser: argparse.ArgumentParser) -> None:
    """``[DIR]``: the tree to work on."""
    parser.add_argument(
        "dir",
        nargs="?",
        metavar="DIR",
        help="a tree or a folder in it (default: here)",
    )


def add_folder_option(parser: argparse.ArgumentParser) -> None:
    """``-C DIR``, where the plain arguments are levels."""
    parser.add_argument(
        "-C",
        dest="dir",
        metavar="DIR",
        help="a tree or a folder in it (default: here)",
    )


def add_port_option(parser: argparse.ArgumentParser) -> None:
    """``--port PORT``: without a tree."""
    parser.add_argument("--port", metavar="PORT", help="levels of this port, without a tree")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_format(parser: argparse.ArgumentParser) -> None:
    """``--format``, and ``--json`` for the form that scripts ask for most."""
    parser.add_argument(
        "--format",
        choices=("text", "json", "github", "sarif", "junit"),
        default="text",
        help="github: annotations; sarif: code scanning; junit: test report",
    )
    parser.add_argument(
        "--json",
        dest="format",
        action="store_const",
        const="json",
        help="the same as --format json",
    )


def add_keep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep",
        action="store_true",
        help="carry local edits along by a 3-way merge; on a conflict nothing changes",
    )
