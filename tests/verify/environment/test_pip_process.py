"""pip as a process that can be stopped."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from porter.process import Stopped
from porter.verify.environment.pip_process import Output
from tests.processes import wait_for_end


def test_a_command_that_is_stopped_ends_with_all_it_started(tmp_path: Path) -> None:
    stop, ready = threading.Event(), tmp_path / "ready"
    program = f"sleep 300 & echo $! > {ready}.new; mv {ready}.new {ready}; wait"
    output = Output(["sh", "-c", program], tmp_path, os.environ)

    def when_ready() -> None:
        while not ready.exists():
            time.sleep(0.01)
        stop.set()

    threading.Thread(target=when_ready).start()
    with pytest.raises(Stopped):
        list(output.lines(stop))

    wait_for_end(int(ready.read_text()))
