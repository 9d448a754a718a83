"""No call of a public function of torch ends the process (docs/simulator.md has the figure)."""

from __future__ import annotations

import pytest

from tests.device.sim.crash_fuzz import deaths


@pytest.mark.forms(1)
@pytest.mark.parametrize("device", ["cuda", "hpu", "npu"])
def test_no_call_of_a_small_part_ends_the_process(device: str) -> None:
    assert list(deaths(device, 20, 1)) == []


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cuda", "hpu", "npu"])
def test_no_call_of_ten_thousand_ends_the_process(device: str) -> None:
    assert list(deaths(device, 10_000, 1)) == []
