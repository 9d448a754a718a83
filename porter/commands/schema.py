"""Print the JSON Schema of one of porter's YAML files, for editors.

An editor finds it by a first line `# yaml-language-server: $schema=PATH` in the YAML file.
"""

from __future__ import annotations

import argparse

from porter.commands.options import add_flag
from porter.errors import Exit

EXAMPLES = (
    ("porter schema pins", "the schema of upstream_pins.yaml"),
    ("porter schema recipe > recipe.schema.json", "the schema of recipes, into a file"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from porter.schemas import SCHEMAS

    parser.add_argument(
        "file",
        nargs="?",
        choices=list(SCHEMAS),
        default="pins",
        help="pins: upstream_pins.yaml; recipe: recipes/<port>/*.yaml (default: %(default)s)",
    )
    add_flag(parser, "--write", "write all schema files of the package")


def run(args: argparse.Namespace) -> int:
    """Print the schema, or write all of them into the package."""
    from porter.schemas import SCHEMAS, schema_path, schema_text

    if args.write:
        for name in SCHEMAS:
            path = schema_path(name)
            path.write_text(schema_text(name))
            print(path)
    else:
        print(schema_text(args.file), end="")
    return Exit.OK
