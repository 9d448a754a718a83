"""Which ports can be checked and verified here, and what would make the others reachable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from porter.cli import main
from porter.places import cache_dir
from porter.upstream.doctor import ask_sources
from porter.upstream.failure import SourceFailure
from porter.upstream.pins import load_pins
from porter.verify.plan.reachable import PortReach, reach_of_ports, what_would_help
from tests.small_project import Upstreams, make_project, make_upstreams
from tests.verify.folder_trees import write_recipe

RECIPE = 'levels: [upstream, widen-a]\nclaims: [{outputs: "*", parity: {}}]\n'


@pytest.fixture
def upstreams(tmp_path: Path) -> Upstreams:
    return make_upstreams(tmp_path / "upstreams")


@pytest.fixture
def root(tmp_path: Path, upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose port ``toy`` has recipes of its code, of its tools and of its submodule."""
    root = make_project(tmp_path / "project", upstreams)
    for name, needs in (("code", "pkg/"), ("tools", "tools/"), ("lib", "LIB/")):
        write_recipe(root, "toy", name, f"needs: [{needs}]\n{RECIPE}", "")
    monkeypatch.setenv("PORTER_ROOT", str(root))
    return root


def reached(root: Path, *, offline: bool = False) -> dict[str, PortReach]:
    pins = load_pins(root)
    answers = ask_sources(pins, offline=offline)
    return {r.port: r for r in reach_of_ports(root, pins, answers, offline=offline)}


def test_where_every_source_answers_all_is_within_reach_and_nothing_is_fetched(root: Path) -> None:
    assert reached(root) == {
        "toy": PortReach("toy", "all", 0, 3, 3),
        "mate": PortReach("mate", "all", 0, 0, 0),
    }
    assert not (cache_dir() / "store").exists()


def test_a_submodule_that_does_not_answer_costs_the_recipes_that_need_it(
    root: Path, upstreams: Upstreams
) -> None:
    shutil.rmtree(upstreams.folder / "lib.git")

    toy = reached(root)["toy"]

    assert (toy.checked, toy.recipes, toy.reachable, toy.whole) == ("all", 3, 2, False)
    assert "there is no git repository at" in toy.reason
    assert not (cache_dir() / "trees").exists()


def test_without_its_upstream_a_port_has_its_ids_at_most(root: Path, upstreams: Upstreams) -> None:
    shutil.rmtree(upstreams.folder / "toy.git")

    toy = reached(root)["toy"]

    assert (toy.checked, toy.reachable) == ("nothing", 0)


def test_offline_it_is_what_the_store_holds(root: Path) -> None:
    assert reached(root, offline=True)["toy"].reason == "porter is offline"
    assert main(["fetch"]) == 0
    assert reached(root, offline=True)["toy"] == PortReach("toy", "all", 0, 3, 3)


def test_what_would_help_names_each_host_once_with_the_ports_it_is_for(root: Path) -> None:
    pins = load_pins(root)
    away = SourceFailure("git", "text", "reason", away=True)
    answers = {name: {pin.sources[0]: away} for name, pin in pins.pins.items()}
    reaches = [PortReach("toy", "ids", 0, 3, 0), PortReach("mate", "all", 0, 1, 1)]

    lines = what_would_help(pins, reaches, answers)

    assert [line.rpartition(" (")[2] for line in lines] == ["for toy)"] * 3
    assert all(line.startswith("a git repository at /") for line in lines)


def test_a_host_is_named_with_the_command_for_a_mirror(tmp_path: Path) -> None:
    (tmp_path / "upstream_pins.yaml").write_text(
        "version: 1\npins:\n  far:\n    url: https://git.example/ada/far\n"
        f"    commit: {'a' * 40}\n    tree: {'b' * 40}\n    license: MIT\n"
    )
    pins = load_pins(tmp_path)
    away = SourceFailure("git", "text", "reason", away=True)

    lines = what_would_help(
        pins, [PortReach("far", "ids", 0, 1, 0)], {"far": {pins.pins["far"].sources[0]: away}}
    )

    mirror = "`git config --global url.<mirror>.insteadOf https://git.example/`"
    assert lines == [f"git.example, or a mirror: {mirror} (for far)"]


def test_doctor_shows_both(
    root: Path, upstreams: Upstreams, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(upstreams.folder / "lib.git")

    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  --  toy   check: all; verify: 2 of 3 recipes" in lines
    assert "  ok  mate  check: all; verify: 0 of 0 recipes" in lines

    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = {row["port"]: (row["reachable"], row["recipes"]) for row in report["ports"]}
    assert rows == {"toy": (2, 3), "mate": (0, 0)}
    assert len(report["would_help"]) == 1
