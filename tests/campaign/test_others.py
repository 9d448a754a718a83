"""What quilt and ``git am`` do under the same kills, for docs/reliability.md: nothing is asserted
of them but that they were killed. The count says how often each needs help by hand afterwards."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.campaign.conftest import SEED, Count
from tests.small_project import sealed_git

LINES = "".join(f"line {n}\n" for n in range(400))
FILES = 20


def _series(folder: Path) -> tuple[Path, Path]:
    """Make a repository, and eight patches of twenty files each as mails and as a quilt series."""
    work, patches = folder / "work", folder / "patches"
    work.mkdir(parents=True)
    sealed_git(work, "init", "--quiet", "--initial-branch=main")
    for step in range(9):
        for number in range(FILES):
            text = LINES.replace("line 50\n", f"line 50, step {step}\n")
            (work / f"f{number}.txt").write_text(text)
        sealed_git(work, "add", ".")
        sealed_git(work, "commit", "--quiet", "-m", f"Step {step}")
    sealed_git(work, "format-patch", "--quiet", "-o", str(patches), "HEAD~8")
    names = sorted(path.name for path in patches.iterdir())
    (patches / "series").write_text("".join(f"{name}\n" for name in names))
    sealed_git(work, "checkout", "--quiet", "-b", "port", "HEAD~8")
    return work, patches


def _killed(command: list[str], cwd: Path, env: dict[str, str], after: float) -> bool:
    process = subprocess.Popen(
        command, cwd=cwd, env=env, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(after)
    alive = process.poll() is None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    return alive


def _run(command: list[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, check=False)


@pytest.mark.parametrize("tool", ["quilt push -a", "quilt pop -a", "git am"])
def test_others_under_the_same_kills(tmp_path: Path, count: Count, tool: str) -> None:
    if shutil.which(tool.split()[0]) is None:
        pytest.skip(f"no {tool.split()[0]}")
    work, patches = _series(tmp_path / "made")
    env = {**os.environ, "QUILT_PATCHES": str(patches), "QUILT_PC": ".pc"}
    env |= {"QUILT_SERIES": str(patches / "series")}
    mails = [str(path) for path in sorted(patches.glob("*.patch"))]
    command = ["git", "am", "--quiet", *mails] if tool == "git am" else tool.split()
    if tool == "quilt pop -a":
        assert _run(["quilt", "push", "-a"], work, env).returncode == 0
    shutil.copytree(work, tmp_path / "before", symlinks=True)
    began = time.monotonic()
    assert _run(command, work, env).returncode == 0
    usual, wanted = time.monotonic() - began, (work / "f0.txt").read_text()
    dice = random.Random(f"{SEED} {tool}")
    while count.goes_on(count.rows["killed"]):
        shutil.rmtree(work)
        shutil.copytree(tmp_path / "before", work, symlinks=True)
        if not _killed(command, work, env, dice.uniform(0, usual)):
            continue
        count.one("killed")
        again = _run(command, work, env)
        if again.returncode != 0 and tool == "git am":
            count.one("refused the same command")
            # What git's own message names; it begins the series anew.
            if _run(["git", "am", "--abort"], work, env).returncode == 0:
                again = _run(command, work, env)
        files = (work / f"f{number}.txt" for number in range(FILES))
        there = {path.read_text() if path.exists() else "gone" for path in files}
        if again.returncode != 0 or there != {wanted}:
            count.one("needs help by hand")
