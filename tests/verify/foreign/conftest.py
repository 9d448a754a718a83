"""A port to judge foreign trees by, and the command that does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from porter.cli import main
from porter.verify.cache.store import Places
from tests.plain_upstream import git
from tests.small_port import SmallPort

CODE = "def f(x):\n    return x * 2\n\n\ndef g(x):\n    return x + 1\n"
REORDERED = CODE.replace("x + 1", "(x + 3) - 2")
PROBE = """
    from code_of import f, g
    def run(probe):
        x = probe.normal("x", 200)
        probe.record("f", f(x))
        probe.record("g", g(x))
    """
CLAIMS = """
    claims:
      - {outputs: "f", parity: {}}
      - {outputs: "g", parity: {}, levels: {to: one}}
      - {outputs: "g", allclose: {atol: 1.1, reason: a bound}, levels: [two], contract: false}
    """


@dataclass
class Judged:
    """What the command said: exit code, JSON, and the word of each (level, output, claim)."""

    code: int
    found: dict[str, Any]

    @property
    def words(self) -> dict[tuple[str, str, str], str]:
        return {
            (v["level_name"], v["output"], v["claim"]): v["verdict"]
            for recipe in self.found["recipes"]
            for v in recipe["verdicts"]
        }

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Runs of each recipe, and how many of them came from the cache."""
        return [(recipe["runs"], recipe["cached"]) for recipe in self.found["recipes"]]


Judge = Callable[..., Judged]


@pytest.fixture
def small(
    port: SmallPort, environments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SmallPort:
    """A port with two levels, ``one`` and ``two``, and a recipe with claims on all and on some."""
    places = Places(environments, tmp_path / "traces", tmp_path / "runs")
    monkeypatch.setattr(Places, "under", staticmethod(lambda _: places))
    port.move_pin({"code_of.py": CODE})
    port.add_patch("one", {"code_of.py": REORDERED})
    port.add_patch("two", {"helper.py": "value = 1\n"})
    port.add_recipe("forward", CLAIMS, PROBE)
    return port


@pytest.fixture
def folder(small: SmallPort, tmp_path: Path) -> Path:
    """A copy of the upstream's files in no repository."""
    made = tmp_path / "fork"
    git(small.upstream, "checkout", "-qf", small.pin.commit or "")
    shutil.copytree(small.upstream, made, ignore=shutil.ignore_patterns(".git"))
    return made


@pytest.fixture
def judge(small: SmallPort, capsys: pytest.CaptureFixture[str]) -> Judge:
    """Run ``porter verify small --tree TREE ... --json``."""

    def run(tree: Path | str, *arguments: str) -> Judged:
        capsys.readouterr()
        code = main(["verify", small.name, "--tree", str(tree), *arguments, "--json"])
        said = capsys.readouterr()
        assert said.out, said.err
        return Judged(code, json.loads(said.out))

    return run
