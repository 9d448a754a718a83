"""Wheels of bundles go when no project's requirements files name them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from porter.cli import main
from porter.places import cache_dir
from porter.upstream.registry import register
from porter.verify.environment.requirements import load_requirements
from porter.verify.environment.torch_layer import find_layer
from porter.verify.environment.wheels import install_arguments, list_name
from tests.small_port import SmallPort
from tests.verify.environment.wheels import wheel


@pytest.fixture
def wheels() -> Path:
    folder = cache_dir() / "wheels"
    folder.mkdir(parents=True)
    return folder


def require(root: Path, text: str, wheels: Path, *, python: tuple[int, int] | None = None) -> Path:
    """Write a requirements file, and a list of the wheel of `thing`; return the list."""
    path = root / "recipes" / "environments" / "things.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    requirements = load_requirements(path)
    layer = find_layer()
    listed = wheels / (
        list_name(requirements, layer, python) if python else list_name(requirements, layer)
    )
    version = text.strip().rpartition("==")[2].partition(" ")[0]
    listed.write_text(f"thing=={version} --hash=sha256:{'0' * 64}\n")
    wheel(wheels, "thing", version, "x = 1\n")
    return listed


def freed(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> list[str]:
    assert main(["gc", "--root", str(root), "--json", *words]) == 0
    rows = json.loads(capsys.readouterr().out)["freed"]
    return sorted(Path(row["path"]).name for row in rows if "wheel" in row["what"])


def test_wheels_that_a_requirements_file_names_stay(
    port: SmallPort, wheels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of another project and of another Python too."""
    require(port.root, "thing==1.0\n", wheels)
    other = tmp_path / "other"
    other.mkdir()
    (other / "upstream_pins.yaml").write_bytes((port.root / "upstream_pins.yaml").read_bytes())
    register("projects", other)
    require(other, "thing==2.0  # porter: no-deps\n", wheels, python=(3, 12))

    assert freed(capsys, port.root, "--now") == []
    assert len(list(wheels.glob("*.whl"))) == 2


def test_wheels_that_nothing_refers_to_go(
    port: SmallPort, wheels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = require(port.root, "thing==1.0\n", wheels)
    require(port.root, "thing==2.0\n", wheels)  # the file says something else now
    gone = sorted([old.name, "thing-1.0-py3-none-any.whl"])

    assert freed(capsys, port.root) == [], "it was used lately"
    assert freed(capsys, port.root, "--now", "--dry-run") == gone
    assert old.exists()
    long_ago = time.time() - 15 * 86400
    for path in wheels.iterdir():
        os.utime(path, (long_ago, long_ago))
    assert freed(capsys, port.root) == gone
    assert sorted(path.suffix for path in wheels.iterdir()) == [".txt", ".whl"]


def test_what_is_installed_from_counts_as_used(port: SmallPort, wheels: Path) -> None:
    listed = require(port.root, "thing==1.0\n", wheels)
    os.utime(listed, (0, 0))
    requirements = load_requirements(port.root / "recipes" / "environments" / "things.txt")

    assert install_arguments(requirements, find_layer(), wheels.with_name("environments"))
    assert listed.stat().st_mtime > time.time() - 60


def test_wheels_of_a_file_that_cannot_be_read_stay(
    port: SmallPort, wheels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require(port.root, "thing==1.0\n", wheels)
    (port.root / "recipes" / "environments" / "things.txt").write_text("--no such option\n")

    assert freed(capsys, port.root, "--now") == []
