"""Run porter's command line in a forked child, and let a fault happen at a chosen moment.

A fork of a process that has imported porter starts in a millisecond, so a campaign makes some
kills a second. The child has its own session, environment, folder and output files.

Moments are counted in events of Python's audit hooks (a file opened outside Python's own folders, a
rename, a deletion, a folder made, a process started, a lock taken): the n-th is the same one in
every run. What git does in between is reached by kills after a random time, and by
:data:`STRACE_GIT`, a ``git`` that ``strace`` kills at its n-th system call.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
import sys
import sysconfig
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.campaign import warm_torch

SECONDS = 20.0
"""Longer than this is a hang."""
MEMORY = 1 << 30
_EVENTS = frozenset({
    "open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink",
    "os.truncate", "os.utime", "subprocess.Popen", "fcntl.flock", "shutil.rmtree",
})  # fmt: skip
_WRITES = frozenset({"os.rename", "os.mkdir", "os.link", "os.symlink", "os.truncate"})
_OWN = tuple(
    os.path.realpath(path) + os.sep
    for path in {
        *sysconfig.get_paths().values(),
        sys.prefix,
        sys.base_prefix,
        str(Path(__file__).parents[2] / "porter"),
        "/proc",
        "/dev",
        "/sys",
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the child, and when.

    ``kind``: ``kill`` (porter alone), ``kill all`` (with its children), ``full`` (from then on
    Python makes no more files), ``small`` (no file of more than ``at`` bytes, for git too),
    ``obey`` (root obeys permissions), ``count`` (nothing: events are counted). ``at``: the number
    of an event (``match``: of those whose name and path it matches), or ``after`` seconds.
    """

    kind: str = "none"
    at: int = 0
    after: float = 0.0
    match: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. ``code`` is negative for a signal, as subprocess has it."""

    code: int
    out: str
    err: str
    seconds: float
    memory: int
    events: int = 0
    hung: bool = False

    @property
    def words(self) -> str:
        return f"exit {self.code}: {self.err[-1500:]}{self.out[-300:]}"


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    scratch: Path,
    fault: Fault | None = None,
    seconds: float = SECONDS,
) -> Outcome:
    """Run one command line to its end, or to its fault's. ``scratch`` takes its output.

    After ``seconds`` it hangs and is killed.
    """
    return start(argv, cwd=cwd, env=env, scratch=scratch, fault=fault).end(seconds)


def start(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    scratch: Path,
    fault: Fault | None = None,
) -> Running:
    """Start one command line as :func:`run` does."""
    fault = fault or Fault()
    scratch.mkdir(parents=True, exist_ok=True)
    files = [scratch / name for name in ("out", "err", "events")]
    for path in files:
        path.unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child([str(word) for word in argv], cwd, env, files, fault)
    return Running(pid, began, files, fault)


@dataclass(frozen=True, slots=True)
class Running:
    """A command that was started."""

    pid: int
    began: float
    files: list[Path]
    fault: Fault

    def end(self, limit: float = SECONDS) -> Outcome:
        """Wait for its end, or its fault's."""
        hung, used = _wait(self.pid, self.began, self.fault, limit)
        seconds = time.monotonic() - self.began
        texts = [path.read_text(errors="replace") if path.exists() else "" for path in self.files]
        return Outcome(
            os.waitstatus_to_exitcode(used[0]),
            texts[0],
            texts[1],
            seconds,
            used[1].ru_maxrss * 1024,
            int(texts[2] or 0),
            hung,
        )


def _wait(
    pid: int, began: float, fault: Fault, limit: float
) -> tuple[bool, tuple[int, resource.struct_rusage]]:
    hung = killed = False
    pause = 0.001
    while True:
        done, status, used = os.wait4(pid, os.WNOHANG)
        if done:
            return hung, (status, used)
        elapsed = time.monotonic() - began
        if fault.after and not killed and elapsed >= fault.after:
            _kill(pid, everyone=fault.kind == "kill all")
            killed = True
        elif elapsed > limit and not hung:
            hung = True
            _kill(pid, everyone=True)
        left = fault.after - elapsed if fault.after and not killed else pause
        time.sleep(min(max(left, 0.0002), pause))
        pause = min(pause * 1.2, 0.01)


def others_end(before: Collection[int], seconds: float, server: int = 0) -> bool:
    """Wait for the processes that a killed one left to this one; return whether all have ended.

    So do those that ``server`` started.
    """
    end = time.monotonic() + seconds
    while left := [*set(children()).difference(before), *descendants(server)]:
        for pid in left:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        if time.monotonic() > end:
            return not [*set(children()).difference(before), *descendants(server)]
        time.sleep(0.001)
    return True


def children() -> list[int]:
    """Return the processes that this one is the parent of, those that ended unasked included."""
    texts = (path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return [int(pid) for text in texts for pid in text.split()]


def inherit_others(on: bool) -> None:
    """Become the parent of the processes that a killed child leaves (PR_SET_CHILD_SUBREAPER)."""
    import ctypes

    ctypes.CDLL(None).prctl(36, int(on), 0, 0, 0)


def descendants(pid: int) -> list[int]:
    """Return the processes that ``pid`` started, and theirs."""
    if not pid:
        return []
    try:
        texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    found = []
    for child in map(int, " ".join(texts).split()):
        found += [child, *descendants(child)]
    return found


def _kill(pid: int, *, everyone: bool) -> None:
    """Kill a process, and with ``everyone`` all that it started: stopped first, so none escapes."""
    others: list[int] = []
    if everyone:
        os.kill(pid, signal.SIGSTOP)
        others = descendants(pid)
    for each in (*others, pid):
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _child(
    argv: list[str], cwd: Path, env: Mapping[str, str], files: list[Path], fault: Fault
) -> None:
    code = 70
    try:
        os.setsid()
        for number, path in enumerate(files[:2], 1):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
            os.dup2(file, number)
            os.close(file)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(number, mode, closefd=False) for number, mode in enumerate("rww")
        )
        os.environ.clear()
        os.environ.update(env)
        tempfile.tempdir = None
        os.chdir(cwd)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        warm_torch.install()
        counter = _arm(fault)
        code = _main(argv)
        sys.stdout.flush()
        sys.stderr.flush()
        counter[1] = False
        files[2].write_text(str(counter[0]))
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _main(argv: list[str]) -> int:
    from porter.cli import main

    sys.argv = ["porter", *argv]
    try:
        return main(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2


def _arm(fault: Fault) -> list[int]:
    """Count events and let the fault happen; return [events so far, counting]."""
    counter = [0, 1]
    if fault.kind == "small":
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, fault.at))
    if fault.kind == "obey":
        drop_capabilities()
    if fault.after or fault.kind in ("none", "small", "obey"):
        return counter

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event not in _EVENTS or not counter[1] or (event == "open" and _is_own(args[0])):
            return
        if fault.match and not re.search(fault.match, f"{event} {args}"):
            return
        counter[0] += 1
        if fault.kind == "full":
            if counter[0] >= fault.at and _makes_a_file(event, args):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(args[0]))
        elif fault.kind != "count" and counter[0] == fault.at:
            counter[1] = 0
            _kill(os.getpid(), everyone=False) if fault.kind == "kill" else _kill_all()

    sys.addaudithook(hook)
    return counter


def drop_capabilities() -> None:
    """Let root, and what it starts, obey the permissions of files."""
    if os.getuid() != 0:
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    for at in (0, 1):
        data[at] &= ~0b110
    libc.capset(header, data)


def _kill_all() -> None:
    for each in (*descendants(os.getpid()), os.getpid()):
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _is_own(path: object) -> bool:
    """Whether a file is Python's or porter's own code, or no file of a disk."""
    return not isinstance(path, str | bytes) or os.path.abspath(os.fsdecode(path)).startswith(_OWN)  # noqa: PTH100


def _makes_a_file(event: str, args: tuple[object, ...]) -> bool:
    if event != "open":
        return event in _WRITES
    mode, flags = args[1], args[2]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wxa")
    return isinstance(flags, int) and bool(flags & os.O_CREAT)


STRACE_GIT = """\
#!/bin/sh
# Counts git's starts; the start number $CAMPAIGN_GIT kills porter ($PPID), unless
# $CAMPAIGN_PORTER is "lives", and dies itself at its system call number $CAMPAIGN_CALL.
number=$(($(cat "$CAMPAIGN_COUNT" 2>/dev/null || echo 0) + 1))
echo $number >"$CAMPAIGN_COUNT"
if [ "$number" = "$CAMPAIGN_GIT" ]; then
  [ "$CAMPAIGN_PORTER" = lives ] || kill -9 "$PPID"
  exec STRACE -qq -o /dev/null -e trace=CALLS -e inject=CALLS:signal=KILL:when="$CAMPAIGN_CALL" \\
    GIT "$@"
fi
exec GIT "$@"
"""
_CALLS = (
    "openat,open,creat,rename,renameat,renameat2,unlink,unlinkat,link,linkat,mkdir,mkdirat,rmdir,"
    "symlink,symlinkat,write,writev,ftruncate,chmod,fchmod"
)


def write_strace_git(folder: Path) -> bool:
    """Write that ``git`` into ``folder``; return whether it works on this machine."""
    import subprocess

    git, strace = shutil.which("git"), shutil.which("strace")
    if git is None or strace is None:
        return False
    kill = "inject=openat:signal=KILL:when=1"
    trial = [strace, "-qq", "-o", os.devnull, "-e", kill, git, "--version"]
    if subprocess.run(trial, capture_output=True, check=False).returncode != -signal.SIGKILL:
        return False
    folder.mkdir(exist_ok=True)
    text = STRACE_GIT.replace("STRACE", strace).replace('GIT "', f'{git} "')
    known = _known_calls(strace, git)
    (folder / "git").write_text(text.replace("CALLS", known))
    (folder / "git").chmod(0o755)
    return True


def _known_calls(strace: str, git: str) -> str:
    """Return those of the system calls that this processor has."""
    import subprocess

    def knows(call: str) -> bool:
        trial = [strace, "-qq", "-o", os.devnull, "-e", f"trace={call}", git, "--version"]
        return subprocess.run(trial, capture_output=True, check=False).returncode == 0

    return ",".join(filter(knows, _CALLS.split(",")))
