"""JSON Schemas of porter's YAML files, generated from the types that read them.

The generated files are beside this module, so that an editor finds them without porter. A test
compares them with the types; ``porter schema --write`` updates them.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

SCHEMAS: dict[str, tuple[str, str, str]] = {
    "pins": ("porter.upstream.pins", "PinsFile", "upstream_pins.schema.json"),
    "recipe": ("porter.verify.recipe.schema", "Recipe", "recipe.schema.json"),
}
"""name -> module and type of the file's model, and the schema's file name."""


def schema_path(name: str) -> Path:
    """Return the path of the generated schema."""
    return Path(__file__).parent / SCHEMAS[name][2]


def schema_text(name: str) -> str:
    """Return the JSON Schema (draft 2020-12) of the YAML files called ``name``."""
    import msgspec

    module, type_name, _ = SCHEMAS[name]
    shape: Any = getattr(importlib.import_module(module), type_name)
    (top,), components = msgspec.json.schema_components([shape], ref_template="#/$defs/{name}")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **top,
        "$defs": components,
    }
    return json.dumps(schema, indent=2) + "\n"
