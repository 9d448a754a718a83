"""The store under failures: killed and concurrent fetches, a lying remote, a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from porter.errors import SourceUnavailable
from porter.git.odb import Odb
from porter.upstream.audit import audit
from porter.upstream.store import fetch, open_upstream, repository
from tests.processes import PATIENCE, wait_for_end, wait_for_pid
from tests.remotes import (
    FILES,
    Remote,
    git,
    make_remote,
    make_sdist,
    one_pin,
    pin_of,
    porter,
    porter_command,
    porter_environment,
    record_pin_files,
)

# Runs a fetch in a process that kills itself, without any clean-up, at the n-th step that changes
# anything on disk or starts git; exits 7 when there were fewer steps than n.
_KILLED = """
import os, pathlib, signal, subprocess, sys
n = int(sys.argv[1])
def counted(function):
    def step(*args, **kwargs):
        global n
        n -= 1
        if n == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return step
for holder, names in (
    (pathlib.Path, ("mkdir", "rename", "replace", "touch", "unlink", "write_text", "write_bytes")),
    (os, ("fsync",)), (subprocess, ("Popen",)),
):
    for name in names:
        setattr(holder, name, counted(getattr(holder, name)))
from porter.cli import main
main(["fetch"])
sys.exit(7)
"""


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return make_remote(tmp_path / "remote")


@pytest.fixture
def root(tmp_path: Path, remote: Remote) -> Path:
    one_pin(tmp_path / "project", remote)
    return tmp_path / "project"


def assert_whole(root: Path, remote: Remote) -> None:
    """Assert that the store has no partial object and that the next fetch completes it."""
    git_dir = repository("model")
    if git_dir.exists():
        assert audit(git_dir).damage == ()
        with Odb(git_dir) as odb:
            if odb.has([remote.commit]):
                assert len(odb.flat(remote.tree)) == len(FILES)


def killed_at(root: Path, step: int) -> int:
    command = [sys.executable, "-c", _KILLED, str(step)]
    return subprocess.run(command, env=porter_environment(root), capture_output=True).returncode


@pytest.mark.slow
def test_a_fetch_killed_at_any_step_leaves_a_sound_store(root: Path, remote: Remote) -> None:
    killed = 0
    while killed_at(root, killed + 1) == -signal.SIGKILL:
        killed += 1
        assert_whole(root, remote)
        assert killed < 200
    assert killed > 5  # later rounds find what earlier ones left: they have fewer steps
    assert porter(root, "fetch", "--strict").returncode == 0
    assert list((repository("model").parent.parent / "staging").iterdir()) == []


@pytest.mark.forms(2)
@pytest.mark.parametrize(
    "step",
    [*range(1, 40, 9), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 40, 3))],
)
def test_a_cold_fetch_killed_once_is_completed_by_the_next(
    root: Path, remote: Remote, step: int
) -> None:
    killed_at(root, step)
    assert_whole(root, remote)
    assert porter(root, "fetch", "--strict").returncode == 0
    assert_whole(root, remote)


@pytest.mark.slow
def test_fetches_killed_from_outside_at_many_moments(root: Path, remote: Remote) -> None:
    for moment in range(20):
        running = subprocess.Popen(
            porter_command("fetch"), env=porter_environment(root), stdout=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        time.sleep(0.05 + 0.02 * moment)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        assert_whole(root, remote)
    assert porter(root, "fetch", "--strict").returncode == 0


def test_fetches_at_once_all_succeed(root: Path, remote: Remote) -> None:
    running = [
        subprocess.Popen(
            porter_command("fetch", "--strict"), env=porter_environment(root),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]  # fmt: skip
    ended = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * 4, ended
    assert_whole(root, remote)
    assert len(list((repository("model") / "objects/pack").glob("*.pack"))) == 2


@pytest.mark.slow
def test_sdist_reads_killed_at_any_step_leave_a_sound_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: Remote
) -> None:
    sha256 = make_sdist(tmp_path / "index", "model", "1.0", {"README.md": FILES["README.md"]})
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    release = {"sdist": {"name": "model", "version": "1.0", "sha256": sha256}}
    root = tmp_path / "project"
    one_pin(root, remote, alternates=[release])
    record_pin_files(root, "model", remote)
    remote.path.rename(tmp_path / "gone")
    for step in (1, 4, 8, 12, 16, 20, 24, 28):
        killed_at(root, step)
        assert_whole(root, remote)
    assert "1 of 5 wanted files" in porter(root, "fetch").stdout


def test_a_full_disk_is_one_line_and_leaves_a_sound_store(tmp_path: Path) -> None:
    remote = make_remote(tmp_path / "big", {"weights": os.urandom(50_000)}, history=1)
    root = tmp_path / "project"
    one_pin(root, remote)
    limited = ["bash", "-c", 'ulimit -f 8; exec "$@"', "-", *porter_command("fetch")]
    done = subprocess.run(limited, env=porter_environment(root), capture_output=True, text=True)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert audit(repository("model")).damage == ()
    assert porter(root, "fetch", "--strict").returncode == 0


def test_ctrl_c_ends_git_and_leaves_nothing_behind(
    root: Path, remote: Remote, tmp_path: Path
) -> None:
    server, started = tmp_path / "silent", tmp_path / "started"
    server.write_text(f"#!/bin/sh\necho $$ > {started}\nexec cat >/dev/null\n")
    server.chmod(0o755)
    Path(os.environ["GIT_CONFIG_GLOBAL"]).write_text(
        f'[remote "{remote.url}"]\n\turl = {remote.url}\n\tuploadpack = {server}\n'
    )
    running = subprocess.Popen(
        porter_command("fetch"), env=porter_environment(root), stderr=subprocess.PIPE, text=True
    )
    serving = wait_for_pid(started)
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=PATIENCE)[1] == "porter: interrupted\n"
    wait_for_end(serving)
    assert running.returncode == 130
    assert list((repository("model").parent.parent / "staging").iterdir()) == []


_LYING_SERVER = '''#!{python}
"""Speaks git protocol v2 and answers every want with another repository's newest commit."""
import subprocess, sys
out, inp = sys.stdout.buffer, sys.stdin.buffer
def line(data):
    out.write(b"%04x" % (len(data) + 4) + data)
def request():
    lines = []
    while (size := int(inp.read(4) or b"0", 16)) != 0:
        lines.append(inp.read(size - 4) if size > 4 else b"")
    return lines
for text in (b"version 2", b"agent=liar", b"fetch=shallow filter", b"object-format=sha1"):
    line(text + b"\\n")
out.write(b"0000"); out.flush()
request()
pack = subprocess.run(["git", "--git-dir={other}", "pack-objects", "--stdout", "--revs", "-q"],
                      input=b"HEAD\\n", capture_output=True).stdout
line(b"shallow-info\\n"); line(b"shallow {commit}\\n"); out.write(b"0001")
line(b"packfile\\n")
for at in range(0, len(pack), 60000):
    line(b"\\1" + pack[at:at + 60000])
out.write(b"0000"); out.flush()
'''


def test_a_remote_that_sends_another_commit_is_refused(
    tmp_path: Path, root: Path, remote: Remote
) -> None:
    other = make_remote(tmp_path / "other", {"evil.py": b"import os\n"}, history=1)
    server = tmp_path / "liar"
    server.write_text(
        _LYING_SERVER.format(python=sys.executable, other=other.path, commit=remote.commit)
    )
    server.chmod(0o755)
    Path(os.environ["GIT_CONFIG_GLOBAL"]).write_text(
        f'[remote "{remote.url}"]\n\turl = {remote.url}\n\tuploadpack = {server}\n'
    )
    with pytest.raises(SourceUnavailable, match=r"no source could be used: .*bad object"):
        open_upstream(root, one_pin(root, remote))
    with Odb(repository("model")) as odb:
        assert odb.has([remote.commit, other.commit]) == set()


def test_a_read_only_store_serves_what_it_has(root: Path, remote: Remote, tmp_path: Path) -> None:
    pin = one_pin(root, remote)
    fetch(root, pin)
    cache = repository("model").parent.parent
    subprocess.run(["chmod", "-R", "a-w", str(cache)], check=True)
    try:
        done = porter(root, "fetch", "--offline", "--strict")
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(cache)], check=True)


def test_a_password_in_a_mirrors_url_is_not_shown(root: Path, remote: Remote) -> None:
    Path(os.environ["GIT_CONFIG_GLOBAL"]).write_text(
        f'[url "file://me:secret@nowhere/x"]\n\tinsteadOf = {remote.url}\n'
    )
    done = porter(root, "fetch", "model")
    assert done.returncode == 1
    assert "secret" not in done.stdout + done.stderr


def test_a_pin_written_by_an_attacker_starts_nothing(tmp_path: Path, remote: Remote) -> None:
    from tests.remotes import make_project

    root = tmp_path / "hostile"
    for url in (f"--upload-pack=touch {tmp_path}/touched", f"ext::touch% {tmp_path}/touched"):
        make_project(root, {"model": pin_of(remote) | {"url": url}})
        done = porter(root, "fetch", "model")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "touched").exists()
    assert git("--git-dir", remote.path, "rev-parse", "HEAD").decode().strip() == remote.commit
