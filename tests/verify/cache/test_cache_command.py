"""``porter cache``: what the local and the shared cache hold is counted, exchanged and deleted."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from porter.cli import main
from porter.places import cache_dir
from porter.verify.cache.packing import pack_trace
from porter.verify.cache.shared import entry_path, shared_cache
from porter.verify.cache.store import Places, keep_verdicts
from porter.verify.harness.run_info import HEAD
from porter.verify.harness.sums import SUMS, damage_of
from porter.verify.judge.result import RecipeResult
from tests.verify.cache.test_packing import FACTS, files, head


def make_trace(port: str, key: str) -> Path:
    """A trace in the local cache; its folder."""
    folder = cache_dir() / "traces" / port / "one" / key
    folder.mkdir(parents=True)
    text = json.dumps(head(facts=FACTS | {"port": port})).encode()
    for name, content in files(trace_json=text).items():
        (folder / name).write_bytes(content)
    return folder


def make_verdicts(port: str, key: str) -> Path:
    result = RecipeResult(port, "one", "title", (), 3, 1.5)
    return keep_verdicts(Places.under(cache_dir()), result, key)


@pytest.fixture(autouse=True)
def local() -> list[Path]:
    """What the local cache holds: two ports' traces and verdicts."""
    traces = [make_trace(port, letter * 40) for port, letter in (("a", "1"), ("b", "2"))]
    return [*traces, make_verdicts("a", "3" * 40), make_verdicts("b", "4" * 40)]


def everything() -> dict[str, bytes]:
    base = cache_dir()
    paths = [*base.glob("traces/*/*/*/*"), *base.glob("verdicts/*/*/*")]
    return {str(p.relative_to(base)): p.read_bytes() for p in paths if p.name not in (HEAD, SUMS)}


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, object]:
    assert main(["cache", *words, "--json"]) == code
    value: dict[str, object] = json.loads(capsys.readouterr().out)
    return value


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_what_is_pushed_here_is_pulled_there(
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    where: str,
) -> None:
    request.getfixturevalue(where)
    before = everything()
    assert told(capsys, "push")["moved"] == {"traces": 2, "verdicts": 2}
    assert told(capsys, "push")["present"] == {"traces": 2, "verdicts": 2}
    monkeypatch.setenv("PORTER_CACHE", str(tmp_path / "other machine"))

    first = told(capsys, "pull", "a")
    second = told(capsys, "pull")

    assert first["moved"] == {"traces": 1, "verdicts": 1}
    assert second["moved"] == {"traces": 1, "verdicts": 1}
    assert second["present"] == {"traces": 1, "verdicts": 1}
    assert everything() == before
    heads = list(cache_dir().glob(f"traces/*/*/*/{HEAD}"))
    assert [damage_of(one.parent) for one in heads] == ["", ""]


def test_one_ports_things_are_pushed_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, "push", "a")["moved"] == {"traces": 1, "verdicts": 1}


def test_stats_count_both_sides(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["cache", "push", "a"])
    capsys.readouterr()

    assert main(["cache", "stats"]) == 0

    here, there = capsys.readouterr().out.splitlines()
    assert here.startswith("here: 2 traces (")
    assert there.startswith(f"file://{folder} (read and written): 1 trace (")
    assert ", 2 objects (" in there


def test_damage_is_not_pushed(
    folder: Path, capsys: pytest.CaptureFixture[str], local: list[Path]
) -> None:
    (local[0] / "printed.json").write_text("{}")

    found = told(capsys, "push", code=1)

    assert found["moved"] == {"traces": 1, "verdicts": 2}
    assert str(local[0]) in str(found["refused"])


def test_a_name_that_leads_elsewhere_is_not_pulled(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    trace = make_trace("../../../elsewhere", "5" * 40)
    shared = shared_cache(print)
    assert shared is not None
    shared.put("traces", trace.name, pack_trace(trace))
    monkeypatch.setenv("PORTER_CACHE", str(tmp_path / "deep" / "other machine"))

    found = told(capsys, "pull", code=1)

    assert "expected the name of a port" in str(found["refused"])
    assert not list(tmp_path.rglob("elsewhere"))


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_prune_deletes_old_entries_and_what_no_entry_names(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["cache", "push"])
    capsys.readouterr()
    objects = [path for path in (folder / "porter-1/objects").rglob("*") if path.is_file()]
    for path in objects:
        age(path, 40 * 24 * 3600)
    old = folder / entry_path("traces", "1" * 40)
    age(old, 31 * 24 * 3600)
    half = folder / "porter-1" / "objects" / "ab" / f".{'ab' * 32}.1.new"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"half")
    age(half, 7200)

    dry = told(capsys, "prune", "--dry-run")
    done = told(capsys, "prune")
    again = told(capsys, "prune")

    assert dry["deleted"] == done["deleted"]
    counts = {row["what"]: row["count"] for row in done["deleted"]}  # type: ignore[index,attr-defined]
    assert counts == {"traces": 1, "verdicts": 0, "objects": 2}
    assert not old.exists()
    assert not half.exists()
    left = told(capsys, "pull")["present"]
    assert left == {"traces": 1, "verdicts": 2}
    assert {row["count"] for row in again["deleted"]} <= {0}  # type: ignore[index,attr-defined]


@pytest.mark.parametrize("words", [["push"], ["prune"]])
def test_a_reader_may_not_write(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    monkeypatch.setenv("PORTER_REMOTE_CACHE_MODE", "read")

    assert main(["cache", *words]) == 2

    assert "expected read-write for this command, found read" in capsys.readouterr().err


def test_without_a_shared_cache_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "push"]) == 2
    assert "PORTER_REMOTE_CACHE: expected the URL" in capsys.readouterr().err

    assert main(["cache", "stats"]) == 0
    assert "names no shared cache" in capsys.readouterr().out


def test_a_shared_cache_that_is_away_is_an_error_of_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.rmdir()

    assert main(["cache", "stats"]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no such folder" in line


@pytest.mark.parametrize("words", [["push", "--days", "3"], ["pull", "-n"], ["prune", "a"]])
def test_options_of_another_action_are_refused(folder: Path, words: list[str]) -> None:
    assert main(["cache", *words]) == 2
