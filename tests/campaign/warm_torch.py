"""Fork servers that need not import torch: a verification in the campaign takes half a second.

``python warm_torch.py SOCKET`` imports torch once, as porter's fork server does, and forks a
process for each that asks on the socket. That process goes on as the fork server that porter wanted
to start, with the same code, variables, folder and control socket. It is no child of porter's;
porter ends it by closing the control socket, and so does porter's death.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PLACE = "CAMPAIGN_WARM_TORCH"
"""The variable that names the socket."""


class Started:
    """What porter holds of a fork server that was asked for: the part of a Popen that it uses."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        pass_fds: Sequence[int],
        **others: Any,
    ) -> None:
        request = {"main": command[1], "cwd": str(cwd), "env": dict(env)}
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
            channel.connect(os.environ[PLACE])
            socket.send_fds(channel, [json.dumps(request).encode()], list(pass_fds))
            self.pid = int(channel.recv(100))
        try:
            self._handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            self._handle = -1

    def wait(self, timeout: float | None = None) -> int:
        if self._handle >= 0:
            if not select.select([self._handle], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("the fork server", timeout or 0)
            os.close(self._handle)
            self._handle = -1
        return 0


class Subprocess:
    """The module ``subprocess`` as the module of fork servers sees it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    @staticmethod
    def Popen(command: Sequence[str], **options: Any) -> Any:
        is_server = command[1].endswith("forkserver_main.py")
        return Started(command, **options) if is_server else subprocess.Popen(command, **options)


def install() -> None:
    """Let this process start its fork servers so, if the variable names a socket."""
    if os.environ.get(PLACE):
        from porter.verify.execution import forkserver

        vars(forkserver)["subprocess"] = Subprocess()


def _serve(listening: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        channel, _ = listening.accept()
        with channel:
            data, files, _, _ = socket.recv_fds(channel, 1 << 17, 1)
            if not data:
                continue
            pid = os.fork()
            if pid == 0:
                listening.close()
                channel.close()
                _become(json.loads(data), files[0])
            os.close(files[0])
            channel.send(str(pid).encode())


def _become(request: dict[str, Any], control: int) -> None:
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        import forkserver_main

        os.set_inheritable(control, True)
        code = forkserver_main.main([request["main"], str(control)])
    finally:
        os._exit(code)


def main(place: str, server: str) -> None:
    sys.path[0] = str(Path(server).parent)
    import forkserver_main  # noqa: F401 (imported once for all)
    import torch
    import torch._dynamo

    del sys.path[0]
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(place)
    listening.listen()
    print(torch.__version__, flush=True)
    _serve(listening)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
