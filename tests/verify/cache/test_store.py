"""What was run before is not run again, and what changed is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from porter.verify.cache import store as cache
from porter.verify.cache.store import CacheWriteError, Places, making
from porter.verify.execution import scheduler
from porter.verify.execution.session import Options
from porter.verify.judge.result import RecipeResult
from tests.verify.conftest import Heard, Verify
from tests.verify.folder_trees import PARITY, FolderTrees, write_recipe

PROBE = """
    from upstream_code import f
    def run(probe):
        probe.record("y", f(probe.normal("x", 200)))
    """


@pytest.fixture
def port(tmp_path: Path, trees: FolderTrees) -> Path:
    """A port of two levels with a recipe; its path."""
    trees.add("port", upstream="def f(x): return x + 1", same="def f(x): return 1 + x")
    return write_recipe(tmp_path, "port", "one", PARITY, PROBE)


def test_an_unchanged_recipe_runs_nothing_and_says_the_same(
    port: Path, trees: FolderTrees, verify: Verify, heard: Heard
) -> None:
    (first,) = verify(trees)
    (second,) = verify(trees)

    assert (first.runs, first.cached) == (4, 0)
    assert (second.runs, second.cached) == (4, 4)
    assert second.verdicts == first.verdicts
    assert len(heard.runs) == heard.expected == 4


def test_another_claim_is_judged_on_the_same_runs(
    port: Path, trees: FolderTrees, verify: Verify, heard: Heard
) -> None:
    verify(trees)
    port.write_text(port.read_text().replace("parity: {}", 'within_ulps: {ulps: 1, reason: "r"}'))

    (second,) = verify(trees)

    assert {v.claim for v in second.verdicts} == {"within_ulps"}
    assert second.cached == len(heard.runs) == 4


@pytest.mark.parametrize(
    ("what", "made"),
    [
        ("level", 1),
        ("probe", 4),
        ("neighbour", 4),
        ("stranger", 0),
        ("parameters", 4),
        pytest.param("environ", 4, marks=pytest.mark.slow),
        ("fresh", 4),
    ],
)
def test_what_changed_is_run_again(
    port: Path, trees: FolderTrees, verify: Verify, heard: Heard, what: str, made: int
) -> None:
    probe = port.parent / "one_probe.py"
    probe.write_text("import neighbour\n" + probe.read_text())
    for name in ("neighbour", "stranger"):
        (port.parent / f"{name}.py").write_text("")
    verify(trees)
    if what == "level":
        trees.ports["port"].pop()
        trees.add("port", same_again="def f(x): return 1.0 + x")
    elif what == "probe":
        probe.write_text(probe.read_text() + "\n")
    elif what in ("neighbour", "stranger"):
        (port.parent / f"{what}.py").write_text("changed = True")
    elif what != "fresh":
        port.write_text(port.read_text() + f"{what}: {{A: '1'}}\n")

    (second,) = verify(trees, options=Options(fresh=what == "fresh"))

    assert second.runs - second.cached == made == len(heard.runs) - 4


@pytest.mark.slow
def test_a_variable_that_libraries_read_is_part_of_the_key(
    port: Path, trees: FolderTrees, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify(trees)
    monkeypatch.setenv("TORCH_SOMETHING", "1")

    assert verify(trees)[0].cached == 0


def test_a_recipe_that_fails_to_run_is_run_again_where_it_failed(
    tmp_path: Path, trees: FolderTrees, verify: Verify, heard: Heard
) -> None:
    trees.add("port", upstream="def f(x): return x", broken="def f(x): raise ValueError('no')")
    write_recipe(tmp_path, "port", "one", PARITY, PROBE)
    verify(trees)

    (second,) = verify(trees)

    assert [v.word for v in second.verdicts] == ["baseline", "error"]
    assert (second.runs, second.cached) == (4, 3)


def test_a_trace_cut_short_is_made_again(
    port: Path, trees: FolderTrees, verify: Verify, tmp_path: Path
) -> None:
    verify(trees)
    shutil.rmtree(tmp_path / "verdicts")
    tensors = next((tmp_path / "traces" / "port" / "one").glob("*/tensors.safetensors"))
    os.truncate(tensors, tensors.stat().st_size - 1)

    assert verify(trees)[0].cached == 3


def test_a_trace_that_cannot_be_kept_is_a_line_and_the_verdict_is_given(
    port: Path, trees: FolderTrees, verify: Verify, heard: Heard, tmp_path: Path
) -> None:
    (tmp_path / "traces").write_text("a file in the folder's place, as good as a full disk")

    (result,) = verify(trees)

    assert result.passed
    reasons = [line.partition(":")[0] for line in heard.lines if "not kept" in line]
    assert reasons.count("traces are not kept") == 1
    assert list((tmp_path / "runs").iterdir()) == []


def test_runs_are_made_elsewhere_when_the_caches_disk_is_full(
    port: Path, trees: FolderTrees, verify: Verify, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "LEAST_BYTES", 2**62)

    (result,) = verify(trees)

    assert result.passed
    assert any("MiB left on its disk" in line for line in heard.lines)


def test_recipes_share_equal_runs_and_each_has_its_trace(
    port: Path, trees: FolderTrees, verify: Verify, heard: Heard, tmp_path: Path
) -> None:
    write_recipe(tmp_path, "port", "two", PARITY, PROBE)
    (port.parent / "two.yaml").write_text(port.read_text())

    one, two = verify(trees)

    assert len(heard.runs) == 4
    assert one.verdicts == two.verdicts
    folders = [(tmp_path / "traces" / "port" / recipe) for recipe in ("one", "two")]
    names = [{path.name for path in folder.iterdir() if path.is_dir()} for folder in folders]
    assert names[0] == names[1]
    assert len(names[0]) == 4


def test_two_porters_do_not_make_the_same_run(tmp_path: Path) -> None:
    places = Places.under(tmp_path)

    with making(places, "key") as first, making(places, "key") as second:
        assert (first, second) == (True, False)
    with making(places, "key") as third:
        assert third

    assert list(places.runs.iterdir()) == []


def test_where_no_lock_can_be_taken_a_run_is_made_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    places = Places.under(tmp_path / "file")

    with making(places, "key") as mine:
        assert mine


def test_a_lock_that_a_killed_porter_left_is_free(tmp_path: Path) -> None:
    places = Places.under(tmp_path)
    code = (
        "import os, sys; from pathlib import Path; from porter.verify.cache.store import *\n"
        "with making(Places.under(Path(sys.argv[1])), 'key'): os.kill(os.getpid(), 9)"
    )

    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)

    assert (places.runs / "key.lock").exists()
    with making(places, "key") as mine:
        assert mine


def test_verdicts_survive_the_way_through_a_file(tmp_path: Path) -> None:
    from porter.verify.judge.result import Verdict

    verdict = Verdict(1, "one", "float16", 0, "y", "parity", "fail", "max", float("inf"), 1e-3)
    result = RecipeResult("port", "one", "One", (replace(verdict, variant=(("n", "4"),)),), 3, 1.5)
    places = Places.under(tmp_path)

    cache.keep_verdicts(places, result, "key")

    assert cache.find_verdicts(places, "port", "one", "key") == result
    assert cache.find_verdicts(places, "port", "one", "other") is None


def test_verdicts_that_cannot_be_kept_say_so(tmp_path: Path) -> None:
    (tmp_path / "verdicts").touch()
    with pytest.raises(CacheWriteError, match="verdicts/port/one/key"):
        cache.keep_verdicts(
            Places.under(tmp_path), RecipeResult("port", "one", "", (), 0, 0), "key"
        )


@pytest.mark.parametrize("name", ["tensors.safetensors", "printed.json"])
def test_a_trace_that_changed_on_disk_is_not_judged(
    port: Path, trees: FolderTrees, verify: Verify, heard: Heard, tmp_path: Path, name: str
) -> None:
    (first,) = verify(trees)
    harmed = sorted((tmp_path / "traces" / "port" / "one").glob(f"*/{name}"))[0]
    data = bytearray(harmed.read_bytes())
    data[-3] ^= 1
    harmed.write_bytes(bytes(data))
    port.write_text(port.read_text().replace("title: one", "title: two"))  # judged again

    (second,) = verify(trees)
    (third,) = verify(trees)

    assert any("as it was written" in verdict.detail for verdict in second.verdicts)
    assert third.verdicts == first.verdicts
    assert len(heard.runs) == 5


def test_verdicts_that_changed_on_disk_are_judged_again(
    port: Path, trees: FolderTrees, verify: Verify, heard: Heard, tmp_path: Path
) -> None:
    port.write_text(port.read_text().replace("parity: {}", 'within_ulps: {ulps: 1, reason: "r"}'))
    (first,) = verify(trees)
    (file,) = (tmp_path / "verdicts").rglob("*.json")
    file.write_text(file.read_text().replace('"runs":4', '"runs":9'))

    (second,) = verify(trees)

    assert (second.runs, second.verdicts, len(heard.runs)) == (4, first.verdicts, 4)


def test_a_probe_that_changes_while_it_runs_gives_no_trace(
    port: Path, trees: FolderTrees, verify: Verify, tmp_path: Path
) -> None:
    probe = port.parent / "one_probe.py"
    probe.write_text(
        "import pathlib\n"
        + probe.read_text().rstrip()
        + f"\n    pathlib.Path({str(probe)!r}).open('a').write('# more\\n')\n"
    )

    (result,) = verify(trees, options=Options(sandbox="off"))

    assert {verdict.word for verdict in result.verdicts} == {"error"}
    assert "changed; verify again" in result.verdicts[0].detail
    assert list((tmp_path / "traces").rglob("trace.json")) == []
