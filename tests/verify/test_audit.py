"""``porter store verify`` finds a flipped byte of everything that the cache holds, and mends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from porter.cli import main
from porter.editing.history import History, State
from porter.levels.levels import build_levels, memo_dir
from porter.places import cache_dir
from porter.upstream.needs import Needs
from porter.upstream.snapshot import cached_tree, gather_tree
from porter.upstream.store import open_upstream
from porter.verify.audit import CacheAudit, audit_cache
from porter.verify.cache.store import Places, keep_verdicts
from porter.verify.environment import venv
from porter.verify.harness.run_info import HEAD, PRINTED, TENSORS
from porter.verify.harness.sums import write_sums
from porter.verify.judge.result import RecipeResult
from tests.remotes import make_remote, one_pin
from tests.small_port import SmallPort, changed


def make_trees(base: Path) -> None:
    pin = one_pin(base / "project", make_remote(base / "remote"))
    with open_upstream(base / "project", pin) as upstream:
        cached_tree(gather_tree(upstream, pin.tree, Needs()))


def make_environment(base: Path) -> None:
    home = cache_dir() / "environments" / "torch-alone-1"
    site = home / "build-x" / "venv" / "lib" / "python3" / "site-packages"
    info = site / "thing-1.dist-info"
    info.mkdir(parents=True)
    (site.parents[2] / "bin").mkdir()
    (site.parents[2] / "bin" / "python").touch()
    (site / "thing.py").write_text("x = 1\n")
    (info / "RECORD").write_text(
        "thing.py,sha256=nia_NpkRxFwkPGhBR7I_yeHc_PJX0pmhxjIBam_NM_Q,6\n"
        "thing-1.dist-info/RECORD,,\n"
    )
    marker = {"build": "build-x", "key": "1", "packages": {}, "pip_check": ""}
    marker["sha256"] = venv._checksum(marker)
    (home / venv.MARKER).write_text(json.dumps(marker))


def make_trace(base: Path) -> None:
    folder = cache_dir() / "traces" / "port" / "recipe" / "key"
    folder.mkdir(parents=True)
    for name in (HEAD, PRINTED, TENSORS):
        (folder / name).write_text(name * 9)
    write_sums(folder)


def make_verdicts(base: Path) -> None:
    result = RecipeResult("port", "recipe", "title", (), 3, 1.5)
    keep_verdicts(Places.under(cache_dir()), result, "key")


def make_history(base: Path) -> None:
    for port in ("one", "two"):
        history = History(base, port)
        history.prepare("new", State({"series": port.encode() * 50}, {}), {})
        history.adopt()


MADE: dict[str, tuple[Callable[[Path], None], str]] = {
    "snapshots of levels": (make_trees, "trees"),
    "traces": (make_trace, "traces"),
    "verdicts": (make_verdicts, "verdicts"),
    "logs of undo": (make_history, "history.git/objects"),
}


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x01
    path.chmod(0o644)
    path.write_bytes(bytes(data))


def audited(what: str, repair: bool = False) -> CacheAudit:
    return next(one for one in audit_cache(repair=repair) if one.what == what)


@pytest.mark.parametrize("what", MADE)
def test_a_flip_of_any_file_is_found_and_mended(tmp_path: Path, what: str) -> None:
    make, below = MADE[what]
    make(tmp_path)
    files = [p for p in (cache_dir() / below).rglob("*") if p.is_file() and p.stat().st_size]
    assert files
    assert audited(what).damaged == ()
    for path in files:
        whole, mode = path.read_bytes(), path.stat().st_mode
        for at in (0, len(whole) // 2, len(whole) - 1):
            flip(path, at)
            assert audited(what).is_broken, f"{path}: byte {at}"
            path.write_bytes(whole)
        path.chmod(mode)

    flip(files[0], len(files[0].read_bytes()) // 2)
    assert audited(what, repair=True).repairs

    assert audited(what).damaged == ()


@pytest.mark.parametrize("name", ["current.json", "thing.py"])
def test_a_changed_marker_or_package_of_an_environment_is_found(tmp_path: Path, name: str) -> None:
    make_environment(tmp_path)
    (path,) = (cache_dir() / "environments").rglob(name)
    assert audited("environments").damaged == ()

    flip(path, path.stat().st_size // 2)

    assert audited("environments", repair=True).repairs
    assert audited("environments").count == 0


def test_a_repair_keeps_the_logs_that_can_be_read(tmp_path: Path) -> None:
    make_history(tmp_path)
    lost = History(tmp_path, "two")
    tip = lost.tip()
    assert tip is not None
    (cache_dir() / "history.git" / "objects" / tip.oid[:2] / tip.oid[2:]).unlink(missing_ok=True)
    for pack in (cache_dir() / "history.git").rglob("*.pack"):
        pytest.fail(f"{pack}: expected loose objects")

    repaired = audited("logs of undo", repair=True)

    assert [line.partition(":")[0] for line in repaired.repairs] == [
        "the log of two is lost",
        "the damaged repository is kept",
    ]
    kept = History(tmp_path, "one").tip()
    assert kept is not None
    assert History(tmp_path, "one").state(kept.oid).files == {"series": b"one" * 50}
    assert lost.tip() is None


def test_the_command_counts_each_kind_and_repairs(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    port.add_patch("one", changed("a.py", 3))
    with open_upstream(port.root, port.pin) as upstream:
        build_levels(upstream, port.series())
    make_trace(port.root)
    (memo,) = (path for path in memo_dir().rglob("*") if path.is_file())
    flip(memo, 9)

    assert main(["store", "verify"]) == 1
    found = capsys.readouterr().out
    assert main(["store", "verify", "--repair"]) == 0
    capsys.readouterr()
    assert main(["store", "verify"]) == 0

    assert "memos of levels: 1, 1 damaged" in found
    assert f"{memo}: not as it was written" in found
    assert "traces: 1, none damaged" in found
    assert "memos of levels" not in capsys.readouterr().out
