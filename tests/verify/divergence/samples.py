"""Tensors as a comparison of two runs reads them."""

from __future__ import annotations

import torch

from porter.verify.divergence.timeline import TensorSample, read_sample
from porter.verify.harness.activations import Values, sample_tensor


def sampled(
    tensor: torch.Tensor, name: str = "0", sample: int = 1000, most_bytes: int = 10**9
) -> TensorSample:
    """Return a tensor as a comparison reads it from a run's files."""
    values = Values(most_bytes)
    row = sample_tensor(name, tensor, values, sample)
    assert row is not None
    joined = b"".join(values.parts)
    kept = torch.frombuffer(bytearray(joined), dtype=torch.float64) if joined else torch.zeros(0)
    return read_sample(row, kept)
