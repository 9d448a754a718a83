"""A full disk, or a cache that one may only read: the verdict is reached all the same, and said."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from porter.places import cache_dir
from porter.upstream import spare_cache
from porter.upstream.spare_cache import cache_fault, usable_cache
from porter.upstream.store import fetch, open_upstream
from porter.verify.execution.sandbox import find_sandbox
from tests.small_port import SmallPort, changed

RECIPE = "needs: [d/]\nclaims: [{counters: lines, equal: 30}]\n"
PROBE = """
    def run(probe):
        probe.count("lines", len((probe.tree / "d" / "b.py").read_text().splitlines()))
    """
HELD = pytest.mark.skipif(
    find_sandbox("auto").kind != "namespaces", reason="mounts need namespaces"
)


def verify(port: SmallPort, mount: str) -> subprocess.CompletedProcess[str]:
    """Run ``porter verify`` where ``mount``, a shell command, has changed what the cache is."""
    command = shlex.join([sys.executable, "-m", "porter", "verify", port.name])
    script = mount.replace("CACHE", shlex.quote(str(cache_dir()))) + f" && exec {command}"
    return subprocess.run(
        ["unshare", "-rm", "bash", "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PORTER_ROOT": str(port.root), "PYTHONPATH": str(Path.cwd())},
    )


@pytest.fixture
def ready(port: SmallPort) -> SmallPort:
    """A port with a recipe, and its upstream in the store."""
    port.add_patch("one", changed("d/b.py", 3))
    port.add_recipe("count", RECIPE, PROBE)
    fetch(port.root, port.pin)
    return port


@HELD
def test_a_cache_that_one_may_only_read_is_said_and_used(ready: SmallPort) -> None:
    before = sorted(cache_dir().rglob("*"))

    done = verify(ready, "mount --bind CACHE CACHE && mount -o remount,bind,ro CACHE")

    assert done.returncode == 0, done.stderr
    assert "1 recipe passed" in done.stdout
    assert f"porter: {cache_dir()}: Read-only file system; going on without it, in " in done.stderr
    assert sorted(cache_dir().rglob("*")) == before


@HELD
def test_a_full_disk_is_said_and_done_without(ready: SmallPort) -> None:
    copy = "mkdir -p CACHE.all && cp -a CACHE/. CACHE.all && mount -t tmpfs -o size=2m none CACHE"

    done = verify(ready, f"{copy} && cp -a CACHE.all/. CACHE")

    assert done.returncode == 0, done.stderr
    assert "1 recipe passed" in done.stdout
    assert f"porter: {cache_dir()}: 1 MiB left on its disk; going on without it" in done.stderr


def test_the_stand_in_reads_the_store_and_takes_what_is_written(
    ready: SmallPort, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = cache_dir()
    (cache / "traces").mkdir()
    real = cache_fault
    monkeypatch.setattr(
        spare_cache, "cache_fault", lambda folder: "why" if folder == cache else real(folder)
    )
    with usable_cache():
        spare = cache_dir()
        with open_upstream(ready.root, ready.pin, offline=True) as upstream:
            upstream.odb.write([("blob", b"new")])
        assert (spare / "traces").resolve() == cache / "traces"

    assert not spare.exists()
    assert cache_dir() == cache
    assert capsys.readouterr().err.startswith("porter: why; going on without it, in ")


def test_a_cache_that_can_be_written_stays(capsys: pytest.CaptureFixture[str]) -> None:
    before = cache_dir()

    with usable_cache():
        assert cache_dir() == before

    assert capsys.readouterr().err == ""
