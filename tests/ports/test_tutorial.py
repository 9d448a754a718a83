"""docs/tutorial-new-port.md: its commands, run in its order, end in the trees it promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from porter.upstream.pins import load_pins
from tests.conftest import PROJECT
from tests.served import Served

_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.upstream
@pytest.mark.slow
def test_the_tutorials_commands_end_in_the_ports_trees(served: Served, tmp_path: Path) -> None:
    served.upstream("stable-diffusion", *load_pins(PROJECT).port("stable-diffusion").wanted)
    page = (PROJECT / "docs" / "tutorial-new-port.md").read_text(encoding="utf-8")
    blocks = _BLOCK.findall(page)
    assert len(blocks) == 8
    porter = f'porter() {{ "{sys.executable}" -m porter "$@"; }}\n'
    script = "set -eu\n" + porter + "".join(blocks)
    env = os.environ | {"PORTER": str(PROJECT), "PYTHONPATH": str(PROJECT), "PIP_NO_INDEX": "1"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lock = PROJECT / "patches" / "stable-diffusion" / "levels.lock"
    made = tmp_path / "my-ports" / "patches" / "stable-diffusion"
    assert (made / "levels.lock").read_bytes() == lock.read_bytes()
    for patch in lock.parent.glob("*.patch"):
        assert (made / patch.name).read_bytes() == patch.read_bytes()
