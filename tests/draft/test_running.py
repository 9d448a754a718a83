"""A drafted script runs on both simulated devices and on the CPU, and computes the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from porter.draft.drafting import chosen_families, draft
from porter.scan.sources import CodeFile

NET = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(1, 8), nn.SiLU(),
            nn.Conv2d(8, 4, 3, padding=1), nn.GroupNorm(1, 4, affine=False),
            nn.Conv2d(4, 3, 3, padding=1),
        )

    def forward(self, x):
        return self.net(x)
"""
SCRIPT = """\
import torch

from net import Net

torch.manual_seed(3)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
if torch.cuda.is_available():
    model.cuda()
for step in range(3):
    x = torch.randn(2, 3, 6, 5, device=device)
    with torch.cuda.amp.autocast(enabled=False):
        loss = (model(x) - torch.randn_like(x)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(next(model.parameters()).device.type, f"{loss.item():.5f}")
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with the files as they were in ``old`` and as they are drafted in ``new``."""
    files = [CodeFile("net.py", NET.encode()), CodeFile("train.py", SCRIPT.encode())]
    levels = draft(files, chosen_families([]))
    assert [level.family.name for level in levels] == [
        "minimal",
        "randn-to-cpu",
        "groupnorm-to-layernorm",
    ]
    contents = {file.path: file.content for file in files}
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        for level in levels if name == "new" else []:
            contents.update(level.files)
        for path, content in contents.items():
            (tmp_path / name / path).write_bytes(content)
    return tmp_path


def ran(folder: Path, device: str) -> str:
    command = [sys.executable, "-W", "ignore", "train.py"]
    if device != "cpu":
        command = [sys.executable, "-m", "porter", "run", "--quiet", "--device", device]
        command += ["--", "train.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "device",
    [
        pytest.param("cpu", marks=pytest.mark.slow),
        "sim:hpu",
        pytest.param("sim:npu", marks=pytest.mark.slow),
    ],
)
def test_a_drafted_script_runs_there_and_computes_what_upstream_does_on_the_cpu(
    tree: Path, device: str
) -> None:
    loss = ran(tree / "old", "cpu").removeprefix("cpu ")

    assert ran(tree / "new", device) == f"{device.removeprefix('sim:')} {loss}"
