"""A part of PyTorch's operator database on a simulated device, in the normal test run.

All of it: ``python -m tests.device.op_database``, or the test marked slow.
"""

from __future__ import annotations

import pytest
import torch

from tests.device.op_database import compare_all

pytest.importorskip("expecttest")
pytest.importorskip("numpy")
# The database needs numpy, warns as it is made, and takes seconds to import.
pytestmark = pytest.mark.filterwarnings("ignore")

USED_BY_THE_PORTS = """
    add mul nn.functional.conv2d nn.functional.group_norm nn.functional.layer_norm
    nn.functional.silu nn.functional.gelu nn.functional.linear nn.functional.interpolate
    nn.functional.scaled_dot_product_attention softmax baddbmm bmm cat chunk split einsum index_put
    __getitem__ masked_fill gather scatter cumprod quantile sort topk where nn.functional.embedding
    nn.functional.cross_entropy nn.functional.mse_loss nn.functional.pad std var norm linalg.svd
    fft.fft2 complex stft
"""


def test_the_ports_ops_have_the_cpus_bits_and_gradients() -> None:
    wanted = set(USED_BY_THE_PORTS.split())
    results = [
        result
        for result in compare_all("sim:hpu", (torch.float32,), 1, (0, 1), names=wanted)
        if not result.skipped
    ]
    assert [(r.op, r.failures) for r in results if r.failures] == []
    assert {r.op.partition(".default")[0] for r in results} >= {"add", "bmm", "cat"}
    assert sum(r.gradients for r in results) >= 30


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("device", ["sim:hpu", "sim:npu", "sim:cuda"])
def test_the_whole_database_has_the_cpus_bits_and_gradients(device: str) -> None:
    dtypes = (torch.float32, torch.float16, torch.bfloat16)
    results = list(compare_all(device, dtypes, 4, (0, 1)))
    assert [(r.op, r.dtype, r.failures) for r in results if r.failures] == []
    assert len({r.op for r in results if r.samples}) >= 600
