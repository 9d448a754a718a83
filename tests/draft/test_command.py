"""``porter draft``: levels of a port, in the store and in a tree, and diffs of a folder."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from porter.cli import main
from tests.small_port import SmallPort

CODE = "import torch\n\nx = torch.randn(3, device=d)\ny = x.cuda()\n"
MINIMAL, DRAWS = "0001-minimal.patch", "0002-randn-to-cpu.patch"


@pytest.fixture
def ready(port: SmallPort) -> SmallPort:
    """A port whose upstream has something to draft, and no level."""
    port.move_pin({"net.py": CODE})
    return port


def porter(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main([*arguments])
    return status, capsys.readouterr().out


def patches(port: SmallPort) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(port.folder.glob("*.patch"))}


def test_a_level_per_family_is_made_and_fit_for_review(
    ready: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = porter(capsys, "draft", "small")

    assert status == 0
    assert list(patches(ready)) == [MINIMAL, DRAWS]
    assert f"new  {MINIMAL}" in out
    assert b"+y = x.to(devices.accelerator())" in patches(ready)[MINIMAL]
    assert b"+x = torch.randn(3).to(d)" in patches(ready)[DRAWS]
    assert porter(capsys, "lint", "small")[0] == 0
    assert porter(capsys, "check", "small")[0] == 0


def test_a_second_draft_finds_nothing_and_another_has_the_same_bytes(
    ready: SmallPort, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    porter(capsys, "draft", "small")
    first = patches(ready)
    assert porter(capsys, "draft", "small") == (0, "small: nothing to draft\n")
    assert porter(capsys, "undo", "small")[0] == 0
    assert patches(ready) == {}
    monkeypatch.setenv("GIT_AUTHOR_DATE", "2031-01-01T00:00:00+00:00")

    assert porter(capsys, "draft", "small")[0] == 0
    assert patches(ready) == first


def test_one_family_is_drafted(ready: SmallPort, capsys: pytest.CaptureFixture[str]) -> None:
    porter(capsys, "draft", "small", "--family", "randn-to-cpu")

    assert list(patches(ready)) == ["0001-randn-to-cpu.patch"]


def test_a_dry_run_writes_nothing(ready: SmallPort, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = porter(capsys, "draft", "small", "--dry-run")

    assert status == 0
    assert "+y = x.to(devices.accelerator())" in out
    assert patches(ready) == {}


def test_a_tree_moves_to_the_drafted_levels(
    ready: SmallPort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    porter(capsys, "apply", "small", str(work))

    assert porter(capsys, "draft", "-C", str(work))[0] == 0
    assert (work / "net.py").read_text().endswith("y = x.to(devices.accelerator())\n")
    assert (work / "devices.py").is_file()
    log = subprocess.run(["git", "log", "--format=%s"], cwd=work, capture_output=True, text=True)
    assert log.stdout.split("\n")[:2] == [
        "Draw noise on the CPU",
        "Run on the accelerator that is there",
    ]


def test_a_level_of_that_name_is_not_drafted_again(
    ready: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    ready.add_patch("minimal", {"other.py": "import torch\n"})

    assert main(["draft", "small"]) == 2
    assert "already" in capsys.readouterr().err
    assert list(patches(ready)) == [MINIMAL]


def test_the_diff_of_a_folder_applies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "net.py").write_text(CODE.rstrip("\n"))
    monkeypatch.chdir(tmp_path)
    status, out = porter(capsys, "draft", "./code")

    assert status == 0
    apply = ["git", "apply", "--unsafe-paths", "--directory", str(folder), "-"]
    subprocess.run(apply, input=out, text=True, cwd="/", check=True)
    assert (folder / "net.py").read_text().endswith("y = x.to(devices.accelerator())")
    assert porter(capsys, "draft", "./code") == (0, "# nothing to draft\n")


def test_json_is_that_of_a_change(ready: SmallPort, capsys: pytest.CaptureFixture[str]) -> None:
    porter(capsys, "draft", "small", "--family", "randn-to-cpu", "--json")
    _, out = porter(capsys, "draft", "small", "--family", "randn-to-cpu", "--json")

    assert json.loads(out) == {"levels": []}
