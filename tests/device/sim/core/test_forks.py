"""A device in a process that was forked after its use."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from porter.device.sim.activate import activate
from porter.device.sim.core.machine import Machine


def in_fork(call: Callable[[], object], told: Path) -> str:
    """Call in a forked process; return the text of its error or warning."""
    child = os.fork()
    if child == 0:
        try:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                call()
            told.write_text("; ".join(str(each.message) for each in seen))
        except Exception as error:
            told.write_text(str(error))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return told.read_text()


def _expected(kind: str) -> str:
    if kind == "hpu":
        return "HPU was used before this process was forked"
    return f"Cannot re-initialize {kind.upper()} in forked subprocess"


@pytest.mark.parametrize("what", ["a new tensor", "an inherited tensor", "a move"])
def test_a_device_used_before_the_fork_is_refused_there(
    kind: str, what: str, tmp_path: Path
) -> None:
    x = torch.ones(2, device=kind)
    calls = {
        "a new tensor": lambda: torch.ones(2, device=kind),
        "an inherited tensor": lambda: x + 1,
        "a move": lambda: torch.ones(2).to(kind),
    }
    assert in_fork(calls[what], tmp_path / "told").startswith(_expected(kind))
    assert (x + 1).sum().item() == 4


def test_a_fork_may_use_a_device_that_its_parent_did_not(kind: str, tmp_path: Path) -> None:
    assert in_fork(lambda: torch.ones(2, device=kind) + 1, tmp_path / "told") == ""


def test_a_fork_may_seed_and_compute_on_the_host(machine: Machine, tmp_path: Path) -> None:
    torch.ones(2, device=machine.profile.name)

    def host() -> None:
        torch.manual_seed(3)
        torch.rand(2).sum().item()

    assert in_fork(host, tmp_path / "told") == ""


def test_starting_a_simulation_is_no_use() -> None:
    assert not activate("npu").was_used
