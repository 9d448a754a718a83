"""The code keeps the order of packages that docs/architecture.md draws, and its bounds on size."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import porter

PACKAGE = Path(porter.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
MOST_MODULES = 20
MOST_LINES = 400
ABOUT = 1.1
"""Both bounds are about so much."""


TOP = {
    ".ci", ".gitattributes", ".github", ".gitignore", ".pre-commit-hooks.yaml", "LICENSE",
    "README.md", "bench", "constraints.txt", "docs", "migration_logs", "patches", "porter",
    "pyproject.toml", "recipes", "tests", "upstream_pins.yaml",
}  # fmt: skip
"""What the repository holds at its top; a test that writes into the working directory adds more."""


def test_the_top_of_the_repository_holds_what_it_should() -> None:
    root = PACKAGE.parent
    if not (root / ".git").exists():
        pytest.skip("not a checkout")
    command = ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z"]
    command += ["--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    found = {path.partition("/")[0] for path in listed.split("\0") if path}

    assert found - TOP == set()


def orders() -> dict[str, list[str]]:
    """Return the page's lines `porter/folder: a -> b -> c`: dotted package -> its parts, in order.

    A package's own modules stand last, as "*"; those of porter itself stand beside the stages.
    """
    block = PAGE.partition("## One direction")[2]
    found = {}
    for package, parts in re.findall(r"^    (porter[\w/]*): +(\w.*)$", block, re.M):
        own = [] if package == "porter" else ["*"]
        found[package.replace("/", ".")] = [*parts.split(" -> "), *own]
    return found


@cache
def modules() -> dict[str, Path]:
    """Return every module of porter by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(name: str) -> dict[str, int]:
    """Return the modules of porter that a module imports anywhere, with a line that does."""
    found = {}
    for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [each if each in modules() else node.module for each in inner]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found.update({each: node.lineno for each in names if each in modules() and each != name})
    return found


def part_of(package: str, name: str, parts: list[str]) -> str | None:
    """Return the part of a package that a module belongs to; None outside the package."""
    if name == package or not name.startswith(f"{package}."):
        return None
    first = name.removeprefix(f"{package}.").split(".")[0]
    if first in parts:
        return first
    return "*" if "*" in parts else None


def test_the_page_gives_an_order_for_every_package_of_packages() -> None:
    inner = {
        ".".join(path.parent.parent.relative_to(PACKAGE.parent).parts)
        for path in PACKAGE.glob("*/**/__init__.py")
    }

    assert len(inner) > 3
    assert sorted(inner) == sorted(orders())


@pytest.mark.parametrize("package", orders())
def test_a_part_imports_only_what_stands_left_of_it(package: str) -> None:
    parts = orders()[package]
    backwards = [
        f"{name}:{line} imports {other}"
        for name in modules()
        if (own := part_of(package, name, parts)) is not None
        for other, line in imports(name).items()
        if (theirs := part_of(package, other, parts)) is not None
        if own != theirs and parts.index(theirs) > parts.index(own)
    ]

    assert backwards == []


def test_every_folder_is_in_its_packages_order() -> None:
    missing = [
        name
        for name, path in modules().items()
        if path.name == "__init__.py" and (package := name.rpartition(".")[0]) in orders()
        if name.rpartition(".")[2] not in orders()[package]
    ]

    assert missing == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circles({name: set(imports(name)) for name in modules()}) == []


def test_no_folder_imports_itself_by_way_of_others() -> None:
    folders: dict[str, set[str]] = {}
    for name in modules():
        own = folder_of(name)
        folders.setdefault(own, set()).update(
            other for each in imports(name) if (other := folder_of(each)) != own
        )

    assert circles(folders) == []


def folder_of(name: str) -> str:
    """A module's package; modules at the top of porter stand alone."""
    if modules()[name].name == "__init__.py":
        return name
    package = name.rpartition(".")[0]
    return name if package == "porter" else package


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Return a circle of a graph (name -> what it needs), or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [*error.args[1]]
    return []


def test_what_stands_beside_the_flow_imports_no_stage_but_git() -> None:
    stages = [f"porter.{part}" for part in orders()["porter"] if part not in ("git", "*")]
    aside = [name for name, path in modules().items() if path.parent == PACKAGE]
    aside = [name for name in aside if name not in ("porter", "porter.cli", "porter.__main__")]
    backwards = [
        f"{name}:{line} imports {other}"
        for name in aside
        for other, line in imports(name).items()
        if any(other == stage or other.startswith(f"{stage}.") for stage in stages)
    ]

    assert len(aside) > 5
    assert backwards == []


def test_devices_know_nothing_of_patches() -> None:
    devices = ("porter.interception", "porter.migrate", "porter.device")
    allowed = (*devices, "porter.errors", "porter.places")
    found = [
        f"{name}:{line} imports {other}"
        for name in modules()
        if name.startswith(devices)
        for other, line in imports(name).items()
        if other != "porter" and not other.startswith(allowed)
    ]

    assert found == []


def test_a_folder_holds_few_modules() -> None:
    counts: dict[Path, int] = {}
    for path in modules().values():
        if path.name != "__init__.py":
            counts[path.parent] = counts.get(path.parent, 0) + 1
    # One file per command: whoever looks for a command knows its name.
    del counts[PACKAGE / "commands"]

    assert {folder: n for folder, n in counts.items() if n > MOST_MODULES * ABOUT} == {}


def test_a_module_is_short() -> None:
    lengths = {n: len(p.read_text(encoding="utf-8").splitlines()) for n, p in modules().items()}

    assert {name: n for name, n in lengths.items() if n > MOST_LINES * ABOUT} == {}


def test_the_page_names_every_folder_and_every_module_at_the_top() -> None:
    folders = [f"`porter/{path.parent.name}/`" for path in PACKAGE.glob("*/__init__.py")]
    files = [f"`{path.name}`" for path in PACKAGE.glob("*.py") if not path.name.startswith("__")]

    assert len(folders) > 10
    assert [name for name in (*folders, *files) if name not in PAGE] == []


def test_tests_are_grouped_as_the_packages_are() -> None:
    folders = (path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("__init__.py"))
    known = {*folders, Path("ports"), Path("campaign")}
    tests = PACKAGE.parent / "tests"
    strangers = {
        path.parent.relative_to(tests)
        for path in tests.rglob("test_*.py")
        if path.parent != tests and path.parent.relative_to(tests) not in known
    }

    assert strangers == set()
