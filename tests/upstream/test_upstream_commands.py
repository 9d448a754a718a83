"""The commands fetch, schema and doctor as a user meets them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.remotes import (
    Remote,
    make_project,
    make_remote,
    make_sdist,
    pin_of,
    porter,
    porter_environment,
    record_pin_files,
)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return make_remote(tmp_path / "remote")


@pytest.fixture
def root(tmp_path: Path, remote: Remote) -> Path:
    second = make_remote(tmp_path / "second", {"a.py": b"a\n"})
    pins = {"model": pin_of(remote, companions=["extra"]), "extra": pin_of(second)}
    return make_project(tmp_path / "project", pins)


def test_fetch_says_what_came_and_from_where(root: Path) -> None:
    lines = porter(root, "fetch").stdout.splitlines()
    assert lines[0].split()[:6] == ["model", "5", "of", "5", "wanted", "files"]
    assert lines[0].endswith("git")
    assert lines[-1].endswith("kB received")
    assert all(len(line) <= 80 for line in lines)


def test_fetch_of_one_port_brings_its_companions(root: Path) -> None:
    names = [line.split()[0] for line in porter(root, "fetch", "model").stdout.splitlines()[:-1]]
    assert names == ["model", "extra"]


def test_a_second_fetch_receives_nothing(root: Path) -> None:
    porter(root, "fetch")
    assert porter(root, "fetch").stdout.splitlines()[-1] == "0 B received"


def test_fetch_as_json(root: Path, remote: Remote) -> None:
    result = json.loads(porter(root, "fetch", "model", "--json").stdout)
    row = result["upstreams"][0]
    assert row["commit"] == remote.commit
    assert (row["wanted"], row["covered"], row["missing"]) == (5, 5, [])
    assert row["sources"] == [f"git {remote.url}"]
    assert result["bytes_received"] >= row["bytes_received"] > 0


def test_fetch_of_some_paths_only(root: Path) -> None:
    done = porter(root, "fetch", "extra", "model", "--path", "src/", "--json")
    wanted = {row["name"]: row["wanted"] for row in json.loads(done.stdout)["upstreams"]}
    assert wanted == {"model": 2, "extra": 0}


def test_an_upstream_without_a_source_does_not_stop_the_others(root: Path, remote: Remote) -> None:
    shutil.rmtree(remote.path)
    done = porter(root, "fetch")
    assert done.returncode == 1
    assert "model  not reachable: there is no git repository at" in done.stdout
    assert "extra  1 of 1 wanted files" in done.stdout
    assert done.stderr == ""


def test_partial_coverage_is_reported_and_fails_only_when_strict(
    tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = make_sdist(tmp_path / "index", "model", "1.0", {"src/model.py": b"changed\n"})
    release = {"sdist": {"name": "model", "version": "1.0", "sha256": sha256}}
    root = make_project(tmp_path / "project", {"model": pin_of(remote, alternates=[release])})
    record_pin_files(root, "model", remote)
    (remote.path / "objects/info/keep").write_text("")
    for path in (remote.path / "objects").glob("??/*"):
        if path.stat().st_size < 60:
            path.unlink()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    done = porter(root, "fetch")
    assert "of 5 wanted files" in done.stdout
    assert "not covered: " in done.stdout
    assert porter(root, "fetch", "--strict").returncode == 1


def test_a_typo_suggests_the_near_pin(root: Path) -> None:
    done = porter(root, "fetch", "modle")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("no pin 'modle'; did you mean 'model'?\n")


def test_a_broken_pins_file_is_one_line(root: Path) -> None:
    path = root / "upstream_pins.yaml"
    path.write_text(path.read_text().replace('"MIT"', "7", 1))
    done = porter(root, "fetch")
    assert done.returncode == 2
    assert done.stderr.startswith(f"porter: {path}:8: pins.model.license: expected an SPDX licence")
    assert done.stderr.count("\n") == 1


def test_schema_prints_json_that_describes_every_key(root: Path) -> None:
    schema = json.loads(porter(root, "schema").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    keys = schema["$defs"]["PinEntry"]["properties"]
    assert {"url", "commit", "tree", "license", "wanted", "alternates", "checkpoints"} <= set(keys)


def test_doctor_lists_what_is_here(root: Path) -> None:
    porter(root, "fetch", "extra")
    done = porter(root, "doctor")
    assert done.returncode == 0, done.stdout
    for words in ("git ", "torch ", "free disk", "location", "hpu ", "npu ", "cuda "):
        assert words in done.stdout
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "ok extra in the store, 1 of 1 wanted files" in lines
    assert "ok model not in the store" in lines
    assert "-- archive off (PORTER_SOFTWARE_HERITAGE)" in lines


def test_doctor_says_why_a_source_does_not_answer(root: Path, remote: Remote) -> None:
    shutil.rmtree(remote.path)
    rows = json.loads(porter(root, "doctor", "--json").stdout)["findings"]
    facts = {row["subject"]: row for row in rows if row["topic"] == "sources"}
    assert facts["model source"]["ok"] is None
    assert facts["model source"]["text"].split(": ")[-1].startswith("there is no git repository at")
    assert "does not appear to be a git repository" in facts["model source"]["detail"]
    assert facts["extra source"]["text"].endswith("reachable")


def test_doctor_without_any_source_fails_and_says_what_to_check(tmp_path: Path) -> None:
    absent = Remote(tmp_path / "absent", "1" * 40, "2" * 40)  # type: ignore[arg-type]
    done = porter(make_project(tmp_path / "project", {"model": pin_of(absent)}), "doctor")
    assert done.returncode == 1
    assert "no source answers: check network, proxy and pip's index" in done.stdout


def test_doctor_offline_asks_nothing(root: Path) -> None:
    done = porter(root, "doctor", "--offline")
    assert done.returncode == 0
    assert done.stdout.count(": not asked") == 2
    assert "archive" in done.stdout


def test_doctor_without_git_says_so(root: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    done = porter(root, "doctor", "--offline", PATH=str(tmp_path / "bin"))
    assert done.returncode == 1
    assert "!!  git     not on PATH; install git 2.30 or newer" in done.stdout


@pytest.mark.parametrize("command", ["fetch", "doctor --offline", "gc", "store verify", "schema"])
def test_no_command_here_imports_torch(root: Path, command: str) -> None:
    code = (
        "import sys; from porter.cli import main; main(sys.argv[1:]);"
        "sys.exit(9 if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()],
        env=porter_environment(root), capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done


def test_a_command_runs_from_below_the_project(root: Path) -> None:
    (root / "patches/model").mkdir(parents=True)
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-m", "porter", "fetch", "extra"],
        cwd=root / "patches/model", env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert "extra  1 of 1 wanted files" in done.stdout


def test_an_error_is_short_and_verbose_prints_gits_message(root: Path, remote: Remote) -> None:
    shutil.rmtree(remote.path)
    (root / "patches/model").mkdir(parents=True)
    (root / "patches/model/series").write_text("")
    short = porter(root, "apply", "model", str(root / "work"))
    assert short.returncode == 1
    assert short.stderr.startswith("porter: model: not reachable: there is no git repository at ")
    assert short.stderr.endswith("; `porter doctor` says what would help\n")
    full = porter(root, "--verbose", "apply", "model", str(root / "work"))
    assert full.stderr.startswith(short.stderr)
    assert "does not appear to be a git repository" in full.stderr
