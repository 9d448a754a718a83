"""PyTorch's operator database on simulated devices: every op once in the normal test run.

It runs in parts, each of every sixth op. With more samples and every dtype: ``pytest -m database``
(some minutes), or ``python -m tests.device.sim.op_database``, which prints a table.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch

from tests.device.sim.op_database import Result, compare_all

pytest.importorskip("expecttest")
pytest.importorskip("numpy")
# The database needs numpy, warns as it is made, and takes seconds to import.
pytestmark = pytest.mark.filterwarnings("ignore")

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
DEVICES = ("sim:hpu", "sim:npu", "sim:cuda")
PARTS = 6
LEAST_OPS = {torch.float32: 100, torch.float16: 80, torch.bfloat16: 80}
"""What a part must compare: 700 ops are in the database, a quarter of them for float32 alone."""


def _check(results: Iterable[Result], least: int) -> None:
    found = list(results)
    assert [(r.op, r.dtype, r.failures) for r in found if r.failures] == []
    assert len({r.op for r in found if r.samples}) >= least
    assert sum(r.gradients for r in found) >= least // 2


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(("device", "dtype"), list(zip(DEVICES, DTYPES, strict=True)))
def test_every_op_has_the_cpus_bits_and_gradients(
    device: str, dtype: torch.dtype, part: int
) -> None:
    _check(compare_all(device, (dtype,), 1, (part, PARTS)), LEAST_OPS[dtype])


@pytest.mark.database
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("device", DEVICES)
def test_more_samples_in_every_dtype_have_the_cpus_bits_and_gradients(
    device: str, part: int
) -> None:
    _check(compare_all(device, DTYPES, 4, (part, PARTS)), LEAST_OPS[torch.float32])
