"""A process that imports torch once and forks a child for every run.

``python forkserver_main.py CONTROL`` is started by :mod:`porter.verify.execution.forkserver` with
the interpreter, variables and thread count of its runs. It imports torch, torch._dynamo (800
modules, 2.6 s of CPU with torch 2.13, which most libraries import) and Dynamo's backends (380
modules, 0.2 s, which every simulated device imports), reports that on the socket CONTROL and waits
there for requests. A request comes with four open files: a socket (for the child's process id,
later its exit status), the run's lifeline, and its stdout and stderr. The child sets itself up as a
fresh process (session, variables, working folder, arguments) and executes ``harness/main.py`` as
``__main__``: the same code as a cold run, in the same order, after the same ``import torch``.

A fork is only sound from a process with one thread, so threads are counted before each fork; a
fork server with more threads refuses, and the run starts cold. Nothing else is imported here:
other libraries read the home folder, ``sys.path`` and torch's default dtype at import, which differ
from run to run.

When the control socket closes (however porter ended), every child ends with all it started, then
this process. Linux only; standard library and torch only.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # The script's own folder would let `import trace` find ours instead of the standard library's.
    del sys.path[0]

import contextlib
import gc
import json
import os
import select
import signal
import socket
import tempfile
import traceback
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

IMPORT_SECONDS = 300
MOST_BYTES = 128 * 1024
FILES = 4


@dataclass
class Child:
    """A run under way. ``handle`` is its pidfd, readable when it has ended; ``channel`` the socket
    on which porter gets its exit status, and by closing which porter ends it."""

    pid: int
    handle: int
    channel: socket.socket

    def kill(self) -> None:
        """Kill the child and its group. It is not reaped yet, so nobody else has its id."""
        os.kill(self.pid, signal.SIGKILL)  # it may not have made its group yet
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def reap(self) -> None:
        """Kill what it left behind; report its exit status."""
        self.kill()
        _, status = os.waitpid(self.pid, 0)
        send(self.channel, {"status": os.waitstatus_to_exitcode(status)})
        os.close(self.handle)
        self.channel.close()


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Send a message; ignore that the other end is closed."""
    with contextlib.suppress(OSError):
        channel.sendall(json.dumps(message).encode())


def threads_here() -> int:
    """How many threads this process has, native ones included."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


class ForkLoop:
    """The loop: receive requests, fork children, report their ends."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.children: list[Child] = []

    def serve(self) -> None:
        """Serve until porter closes the control socket; then kill all children."""
        try:
            while True:
                watched: list[Any] = [self.control, *(c.handle for c in self.children)]
                watched += [c.channel for c in self.children]
                ready, _, _ = select.select(watched, [], [])
                for child in list(self.children):
                    if child.handle in ready:
                        self.children.remove(child)
                        child.reap()
                    elif child.channel in ready:  # its other end was closed: porter wants it gone
                        child.kill()
                        select.select([child.handle], [], [])
                        self.children.remove(child)
                        child.reap()
                if self.control in ready and not self.receive():
                    return
        finally:
            for child in self.children:
                child.kill()

    def receive(self) -> bool:
        """Receive one request and fork for it; False when the control socket is closed."""
        data, files, _, _ = socket.recv_fds(self.control, MOST_BYTES, FILES)
        if not data:
            return False
        channel = socket.socket(fileno=files[0])
        request = json.loads(data)
        count = threads_here()
        if count != 1:
            send(channel, {"refused": f"{count} threads run in it"})
            channel.close()
            for file in files[1:]:
                os.close(file)
            return True
        pid = os.fork()
        if pid == 0:
            try:
                self.close_all(channel)
                become(request, *files[1:])
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        for file in files[1:]:
            os.close(file)
        self.children.append(Child(pid, os.pidfd_open(pid), channel))
        send(channel, {"pid": pid})
        return True

    def close_all(self, own: socket.socket) -> None:
        """Close the fork server's files in a new child."""
        own.close()
        self.control.close()
        for child in self.children:
            child.channel.close()
            os.close(child.handle)


def become(request: dict[str, Any], lifeline: int, out: int, err: int) -> NoReturn:
    """Turn a fresh fork into the process that ``python RUNNER JOB LIFELINE`` would be."""
    os.setsid()
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    os.environ.update(request["variables"])
    os.chdir(request["folder"])
    tempfile.tempdir = None  # looked up again, in the variables of this run
    runner = request["runner"]
    sys.argv = [runner, request["job"], str(lifeline)]
    sys.path.insert(0, str(Path(runner).parent))
    main = types.ModuleType("__main__")
    main.__file__ = runner
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    exec(compile(Path(runner).read_bytes(), runner, "exec"), main.__dict__)
    os._exit(0)


def main(argv: list[str]) -> int:
    """Import torch, say hello, serve."""
    control = socket.socket(fileno=int(argv[1]))
    signal.alarm(IMPORT_SECONDS)  # an import that hangs must not outlive porter for ever
    try:
        import torch
    except Exception as error:
        send(control, {"broken": f"torch cannot be imported: {error}"})
        return 1
    variables = set(os.environ)
    with contextlib.suppress(Exception):  # whoever needs it sees the error
        import torch._dynamo.backends.debugging
    for name in set(os.environ) - variables:
        del os.environ[name]  # TORCHINDUCTOR_CACHE_DIR: a run finds its own, in its own folder
    signal.alarm(0)
    os.close(os.pidfd_open(os.getpid()))  # raises where the system has none: no warm start there
    gc.collect()
    gc.freeze()  # children share these pages as long as no collection writes to them
    send(control, {"torch": torch.__version__, "threads": threads_here()})
    ForkLoop(control).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
