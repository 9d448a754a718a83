"""The code follows the order in docs/architecture.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import porter

PACKAGE = Path(porter.__file__).parent
FLOW = (
    "git",
    "upstream",
    "series",
    "levels",
    "tree",
    "verify",
    "mutation",
    "report",
    "schemas",
    "commands",
    "cli",
)
ASIDE = ("errors", "finding", "atomic", "places", "terminal", "yamlfile", "crash", "process")
DEVICES = (
    "interception",
    "migrate",
    "device",
)  # real and simulated devices: they know nothing of patches


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """Return the first part below ``porter`` of everything a module imports, and the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
            if node.module == "porter":
                names = [f"porter.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "porter" and len(parts) > 1:
                yield parts[1], node.lineno


@pytest.mark.parametrize("stage", FLOW)
def test_a_stage_imports_only_what_stands_left_of_it(stage: str) -> None:
    later = FLOW[FLOW.index(stage) + 1 :]

    backwards = [
        f"{path.relative_to(PACKAGE)}:{line} imports porter.{name}"
        for owner, path in _modules()
        if owner == stage
        for name, line in _imports(path)
        if name in later
    ]

    assert backwards == []


def test_every_module_has_its_place_in_the_flow_or_beside_it() -> None:
    known = {*FLOW, *ASIDE, *DEVICES, "__init__", "__main__"}

    assert {owner for owner, _ in _modules()} - known == set()


def test_what_stands_beside_the_flow_imports_no_stage_but_git() -> None:
    backwards = [
        f"{path.relative_to(PACKAGE)}:{line} imports porter.{name}"
        for owner, path in _modules()
        if owner in ASIDE
        for name, line in _imports(path)
        if name in FLOW[1:]
    ]

    assert backwards == []


def test_the_architecture_page_names_every_folder() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    folders = [path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()]

    assert [name for name in folders if f"`porter/{name}/`" not in page] == []


def test_devices_know_nothing_of_patches() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line} imports porter.{name}"
        for owner, path in _modules()
        if owner in DEVICES
        for name, line in _imports(path)
        if name not in (*DEVICES, "errors", "places", "__version__")
    ]

    assert found == []
