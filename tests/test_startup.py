"""Commands on patches and trees import neither torch nor anything else that is slow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
RUN_HALF = ("bundle", "device", "interception", "migrate", "mutation", "verify")
"""Packages that may import torch."""


def patch_half() -> list[str]:
    """Return every module of porter that must do without torch."""
    found = []
    for path in sorted((PROJECT / "porter").rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        if parts[1] in RUN_HALF or parts[-1] == "__main__":
            continue
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def imported_by(modules: list[str]) -> set[str]:
    """Return what is loaded after importing ``modules`` in a separate process."""
    code = (
        f"import importlib, sys\nfor module in {modules!r}:\n    importlib.import_module(module)\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_patch_half_never_imports_torch() -> None:
    modules = patch_half()
    assert len(modules) > 30
    assert not {name for name in imported_by(modules) if name.partition(".")[0] == "torch"}


@pytest.mark.parametrize("command", ["--help", "list"])
def test_help_and_list_import_nothing_that_only_verification_needs(command: str) -> None:
    run = [sys.executable, "-X", "importtime", "-m", "porter", command]
    done = subprocess.run(run, cwd=PROJECT, check=True, capture_output=True, text=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "porter.cli" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {
        *("packaging", "filelock", "torch", "fsspec", "s3fs", "tarfile")
    }


def test_a_shared_cache_that_nobody_names_costs_no_import() -> None:
    loaded = imported_by(["porter.verify.execution.session", "porter.verify.execute"])
    assert "porter.verify.cache.shared" in loaded
    assert not loaded & {"fsspec", "s3fs", "porter.verify.cache.packing"}


@pytest.mark.parametrize(
    "module",
    ["porter.cli", "porter.tree.locked", "porter.tree.move", "porter.report.terminal.tree"],
)
def test_moving_a_tree_imports_neither_yaml_nor_models(module: str) -> None:
    loaded = imported_by([module])
    assert not loaded & {
        "yaml",
        "msgspec",
        "rich",
        "git",
        "unidiff",
        "filelock",
        "porter.levels.levels",
    }


def test_an_ordinary_move_imports_next_to_nothing() -> None:
    loaded = imported_by(["porter.tree.fast_checkout", "porter.terminal"])
    assert not loaded & {"subprocess", "pathlib", "typing", "dataclasses", "signal", "yaml"}
