"""Make a project: the pins file, the folders, the schemas for editors, .gitignore.

An existing file is kept as it is. In a project, only what is missing is made."""

from __future__ import annotations

import argparse
from pathlib import Path

from porter.commands.options import add_flag

EXAMPLES = (
    ("porter init", "make the folder here a project"),
    ("porter init my-ports --ci --pre-commit", "a new folder, with a workflow and hooks"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="?", type=Path, metavar="DIR", help="the project's folder (default: here)"
    )
    add_flag(parser, "--ci", "also a GitHub workflow that checks every pull request (docs/ci.md)")
    add_flag(parser, "--pre-commit", "also a .pre-commit-config.yaml with porter's hooks")


def run(args: argparse.Namespace) -> int:
    """Make the project; print a line for each file and folder."""
    import os

    from porter.places import PINS_FILE
    from porter.project.init import make_project
    from porter.terminal import emit, table

    root = Path(args.folder or os.environ.get("PORTER_ROOT") or ".").expanduser()
    is_project = (root / PINS_FILE).is_file()
    steps = list(make_project(root, ci=args.ci, pre_commit=args.pre_commit))
    rows = [("made" if s.made else "kept", os.path.relpath(s.path), s.note) for s in steps]
    emit(table(rows))
    where = "this folder" if root.resolve() == Path.cwd().resolve() else str(root)
    if is_project:
        emit([f"{where} is a porter project already"])
    else:
        emit([f"{where} is now a porter project; next: `porter add URL`"])
    return 0
