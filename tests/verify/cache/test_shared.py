"""Machines share traces and verdicts; a shared cache that fails costs no verdict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from porter.errors import BadInput
from porter.verify.cache.packing import pack_trace
from porter.verify.cache.remote_folder import RemoteFailed, RemoteFolder
from porter.verify.cache.shared import SharedCache, open_shared, shared_cache
from porter.verify.execution.session import Options
from porter.verify.harness.run_info import HEAD, RunFacts
from porter.verify.harness.sums import damage_of
from tests.processes import own_environment
from tests.verify.cache.conftest import Machine, use_s3
from tests.verify.folder_trees import PARITY, FolderTrees, write_recipe

PROBE = """
    from upstream_code import f
    def run(probe):
        probe.record("y", f(probe.normal("x", 200)))
    """
Machines = Callable[[str], Machine]


@pytest.fixture(autouse=True)
def port(tmp_path: Path, trees: FolderTrees) -> Path:
    """A port of two levels with a recipe, which takes 4 runs; its path."""
    trees.add("port", upstream="def f(x): return x + 1", same="def f(x): return 1 + x")
    return write_recipe(tmp_path, "port", "one", PARITY, PROBE)


def objects(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "porter-1" / "objects").rglob("*") if path.is_file())


def about_the_cache(machine: Machine) -> list[str]:
    return [line for line in machine.heard.lines if "shared cache" in line]


def made(machine: Machine) -> int:
    return machine.heard.ends.count("made")


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_what_one_machine_made_no_other_makes(
    request: pytest.FixtureRequest, machine: Machines, where: str
) -> None:
    request.getfixturevalue(where)
    first, second = machine("first"), machine("second")
    (there,) = first.verify()

    (here,) = second.verify()

    assert (made(first), made(second)) == (4, 0)
    assert here.verdicts == there.verdicts
    assert here.cached == 4
    heads = sorted(second.places.traces.glob(f"*/*/*/{HEAD}"))
    assert len(heads) == 4
    assert not any(damage_of(head.parent) for head in heads)
    assert about_the_cache(first) == about_the_cache(second) == []


def test_another_claim_is_judged_on_the_traces_of_another_machine(
    machine: Machines, folder: Path, port: Path
) -> None:
    machine("first").verify()
    port.write_text(port.read_text().replace("parity: {}", 'within_ulps: {ulps: 1, reason: "r"}'))
    second = machine("second")

    (result,) = second.verify()

    assert {verdict.claim for verdict in result.verdicts} == {"within_ulps"}
    assert (made(second), result.cached) == (0, 4)


def test_recipes_of_other_names_share_runs_across_machines(
    machine: Machines, folder: Path, port: Path
) -> None:
    machine("first").verify()
    port.rename(port.with_name("two.yaml"))
    second = machine("second")

    (result,) = second.verify()

    assert made(second) == 0
    for head in second.places.traces.glob(f"port/two/*/{HEAD}"):
        assert json.loads(head.read_text())["facts"]["recipe"] == "two"
        assert not damage_of(head.parent)
    assert result.recipe == "two"


def test_fresh_reads_nothing(machine: Machines, folder: Path) -> None:
    machine("first").verify()
    second = machine("second")

    second.verify(Options(fresh=True))

    assert made(second) == 4


def test_a_reader_writes_nothing(
    machine: Machines, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTER_REMOTE_CACHE_MODE", "read")
    machine("first").verify()
    assert list(folder.iterdir()) == []
    monkeypatch.setenv("PORTER_REMOTE_CACHE_MODE", "read-write")
    machine("second").verify()
    before = {path: path.stat().st_mtime_ns for path in objects(folder)}
    monkeypatch.setenv("PORTER_REMOTE_CACHE_MODE", "read")
    third = machine("third")

    third.verify()

    assert made(third) == 0
    assert {path: path.stat().st_mtime_ns for path in objects(folder)} == before


def test_unchanged_here_asks_for_nothing_there(
    machine: Machines, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = machine("first")
    first.verify()
    monkeypatch.setattr(SharedCache, "get", lambda *_: pytest.fail("asked"))

    first.verify()

    assert made(first) == 4


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.forms(3)
@pytest.mark.parametrize("harm", [cut_short, emptied, flipped, Path.unlink])
@pytest.mark.parametrize("what", ["objects", "traces"])
def test_damage_is_said_once_and_mended_by_the_next_machine(
    machine: Machines, folder: Path, what: str, harm: Callable[[Path], None]
) -> None:
    (there,) = machine("first").verify()
    for path in list((folder / "porter-1" / what).rglob("*")):
        if path.is_file():
            harm(path)
    second, third = machine("second"), machine("third")

    (here,) = second.verify()
    third.verify()

    assert here.verdicts == there.verdicts
    assert (made(second), made(third)) == (4, 0)
    absent = what == "traces" and harm is Path.unlink
    assert len(about_the_cache(second)) == (0 if absent else 1)
    assert about_the_cache(third) == []


@pytest.mark.forms(1)
@pytest.mark.parametrize("size", [0, 100])
def test_half_an_object_in_a_bucket_counts_as_none(machine: Machines, s3: str, size: int) -> None:
    import s3fs

    machine("first").verify()
    bucket = s3fs.S3FileSystem(skip_instance_cache=True)
    for path in bucket.find(f"{s3}/team/porter-1/objects"):
        bucket.pipe_file(path, bucket.cat_file(path)[:size])
    second = machine("second")

    (result,) = second.verify()

    assert result.passed
    assert made(second) == 4
    assert ["unsound" in line for line in about_the_cache(second)] == [True]


def test_the_trace_of_another_run_is_refused(machine: Machines, folder: Path) -> None:
    first, second = machine("first"), machine("second")
    first.verify()
    entries = sorted((folder / "porter-1" / "traces").rglob("*.json"))
    swapped = [json.loads(path.read_text()) for path in entries]
    for path, other in zip(entries, [*swapped[1:], swapped[0]], strict=True):
        path.write_text(json.dumps(other | {"key": path.stem}))

    second.verify()

    assert made(second) == 4
    assert len(about_the_cache(second)) == 1


@pytest.mark.parametrize("lost", ["before", "while reading", "while writing"])
def test_a_lost_connection_costs_no_verdict_and_is_said_once(
    machine: Machines, folder: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    if lost == "before":
        folder.rmdir()
    else:
        name = lost.removeprefix("while ").replace("reading", "read").replace("writing", "write")
        known, calls = getattr(RemoteFolder, name), []

        def falls_silent(self: RemoteFolder, *arguments: object) -> object:
            calls.append(arguments)
            if len(calls) > 2:
                raise RemoteFailed("the connection was lost")
            return known(self, *arguments)

        monkeypatch.setattr(RemoteFolder, name, falls_silent)
    first = machine("first")

    (result,) = first.verify()

    assert result.passed
    assert made(first) == 4
    (line,) = about_the_cache(first)
    assert "cannot be used" in line
    assert str(folder) in line


@pytest.mark.parametrize("kind", ["refused", "silent", "no bucket"])
def test_a_server_that_does_not_answer_is_left(
    machine: Machines,
    s3_server: str,
    silent_server: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setenv("PORTER_STALL_SECONDS", "0.5" if kind == "silent" else "60")
    address = {"refused": "http://127.0.0.1:9", "silent": silent_server}.get(kind, s3_server)
    use_s3(monkeypatch, address)
    monkeypatch.setenv("PORTER_REMOTE_CACHE", "s3://nobodys/team")
    first = machine("first")

    (result,) = first.verify()

    assert result.passed
    assert made(first) == 4
    (line,) = about_the_cache(first)
    assert "s3://nobodys/team cannot be used (" in line
    assert kind != "silent" or "no answer" in line


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("PORTER_REMOTE_CACHE_MODE", "write", "expected read-write or read, found 'write'"),
        ("PORTER_REMOTE_CACHE", "/mnt/team", "expected a URL such as"),
        ("PORTER_REMOTE_CACHE", "simplecache::s3://a", "expected a URL such as"),
        ("PORTER_REMOTE_CACHE", "s3://me:secret@a b", r"found 's3://a b'"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, found: str
) -> None:
    monkeypatch.setenv("PORTER_REMOTE_CACHE", "file:///nowhere")
    monkeypatch.setenv(name, value)

    with pytest.raises(BadInput, match=found):
        shared_cache(print)


def test_nothing_is_opened_where_nothing_is_named() -> None:
    with open_shared(print) as shared:
        assert shared is None


def test_a_file_system_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PORTER_REMOTE_CACHE", "nothing-such://bucket/team")
    said: list[str] = []
    with open_shared(said.append) as shared:
        assert shared is not None
        assert shared._fetched("traces", "0" * 40, bytes) is None

    assert ["cannot be used" in line for line in said] == [True]


PROCESS = """
import sys
from pathlib import Path
from porter.verify.cache.packing import unpack_trace
from porter.verify.cache.shared import shared_cache
shared = shared_cache(print)
data = Path(sys.argv[1]).read_bytes()
number, key = int(sys.argv[2]), sys.argv[3]
bad = 0
for _ in range(20):
    shared.put("traces", key, data)
    bad += shared.get("traces", key) != data
print(bad, shared.failure)
"""


def test_ten_processes_write_and_read_one_key_at_once(
    machine: Machines, folder: Path, tmp_path: Path
) -> None:
    first = machine("first")
    first.verify()
    trace = next(first.places.traces.glob(f"*/*/*/{HEAD}")).parent
    packed = tmp_path / "packed"
    packed.write_bytes(pack_trace(trace))

    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(packed), str(number), trace.name],
            env=own_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(10)
    ]
    printed = [process.communicate()[0].split() for process in processes]

    assert printed == [["0"]] * 10
    left = [path for path in folder.rglob("*") if path.name.endswith(".new")]
    assert left == []


def test_facts_are_those_that_a_key_hides(machine: Machines, folder: Path) -> None:
    """What another recipe may rename is what keys leave out, and no more."""
    from porter.verify.cache.keys import reaching

    names = set(RunFacts.__dataclass_fields__)
    facts = msgspec.convert(
        {n: {} if n in ("companions", "variant", "environ") else 0 for n in names} | TEXTS,
        RunFacts,
        strict=False,
    )

    assert names - reaching(facts).keys() == {
        *("port", "recipe", "recipe_sha256", "level", "level_name")
    }


TEXTS = {name: "x" for name, kind in RunFacts.__annotations__.items() if kind == "str"} | {
    "shaken": False,
    "asks_level": False,
}
