"""A line that git rejects in the user's configuration is named as that, and never as damage."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from porter.cli import main
from porter.git.run import config_fault
from tests.small_port import SmallPort, changed

BAD = {
    "[core\n\tx": "bad config line 1 in file {0}",
    "[core]\n\tautocrlf = maybe\n": (
        "bad boolean config value 'maybe' for 'core.autocrlf' in file {0}"
    ),
    "[core]\n\tbigFileThreshold = lots\n": (
        "bad numeric config value 'lots' for 'core.bigfilethreshold': invalid unit in file {0}"
    ),
}


@pytest.fixture
def settings() -> Path:
    return Path(os.environ["GIT_CONFIG_GLOBAL"])


@pytest.mark.parametrize("text", BAD)
def test_a_fetch_says_which_file_git_rejects(
    port: SmallPort, settings: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    settings.write_text(text)
    assert main(["fetch", port.name]) != 0
    fault = BAD[text].format(settings)
    out, err = capsys.readouterr()
    assert f"git rejects its configuration: {fault}; correct that\n" in out + err
    assert "damaged" not in out + err


@pytest.mark.parametrize("text", BAD)
def test_the_store_is_read_and_judged_without_the_users_settings(
    port: SmallPort, settings: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    port.add_patch("one", changed("a.py", 5))
    assert main(["lock", port.name]) == 0
    capsys.readouterr()
    settings.write_text(text)
    assert main(["check", port.name, "--no-memo"]) == 0
    assert main(["lint", port.name]) == 0
    assert main(["store", "verify"]) == 0
    assert "none damaged" in capsys.readouterr().out


@pytest.mark.parametrize("text", BAD)
def test_commands_on_a_tree_say_which_file_git_rejects(
    port: SmallPort, settings: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    port.add_patch("one", changed("a.py", 5))
    tree = str(tmp_path / "tree")
    assert main(["apply", port.name, tree]) == 0
    settings.write_text(text)
    for command in (["status", tree], ["export", port.name, tree, "--check"], ["gc", "--now"]):
        capsys.readouterr()
        assert main(command) == 2
        err = capsys.readouterr().err
        assert f"git rejects its configuration: {BAD[text].format(settings)}; correct that" in err
        assert err.count("\n") == 1
    settings.unlink()
    assert main(["status", tree]) == 0


def test_what_a_tree_borrows_is_kept_while_git_cannot_be_asked(
    port: SmallPort, settings: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    port.add_patch("one", changed("a.py", 5))
    tree = str(tmp_path / "tree")
    assert main(["apply", port.name, tree]) == 0
    shutil.move(port.root / "upstream_pins.yaml", tmp_path / "pins")
    (port.root / "upstream_pins.yaml").write_text("version: 1\npins: {}\n")
    settings.write_text("[core\n")
    assert main(["gc", "--now"]) != 0
    settings.unlink()
    shutil.move(tmp_path / "pins", port.root / "upstream_pins.yaml")
    assert main(["status", tree]) == 0


def test_other_messages_are_no_fault_of_a_configuration() -> None:
    assert config_fault("fatal: bad object HEAD\n") is None
    assert config_fault("error: corrupt patch at line 3\n") is None
