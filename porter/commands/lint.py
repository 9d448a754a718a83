"""Find patches that are not fit for review.

Rules on the patch files: header, name, series, path, link, submodule, diff, garbage, signature,
index, whitespace; on the pinned tree (skipped with --files-only): apply, offset, size.
"""

from __future__ import annotations

import argparse

from porter.commands.options import add_format


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ports", nargs="*", metavar="PORT", help="ports to lint (default: all)")
    parser.add_argument(
        "--files-only", action="store_true", help="do not apply the patches to the pin"
    )
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    from porter.errors import Exit
    from porter.levels.lint import lint_port
    from porter.places import project_root
    from porter.report.ci.write import folder_in_repository, write_files
    from porter.report.terminal.lint import render
    from porter.upstream.pins import load_pins

    root = project_root()
    pins = load_pins(root)
    chosen = [pins.port(name) for name in args.ports] or list(pins.ports())
    found = [(pin.name, lint_port(root, pin, files_only=args.files_only)) for pin in chosen]
    prefix = folder_in_repository(root)
    write_files(args.output, lambda form: render(found, form, prefix))
    print(render(found, args.format, prefix))
    wrong = any(f.severity == "error" for _, findings in found for f in findings)
    return Exit.FAILED if wrong else Exit.OK
