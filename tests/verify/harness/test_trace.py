"""Traces on disk: a written trace is read back, and a damaged one is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from porter.verify.harness.run_info import RunFacts
from porter.verify.harness.trace import BadTrace, Trace, read, write

FACTS = RunFacts(
    port="port",
    recipe="one",
    recipe_sha256="r",
    inputs_sha256="i",
    probe_sha256="p",
    level=2,
    level_name="new",
    tree="t",
    companions={"beside": "b"},
    dtype="float16",
    device="cpu",
    seed=5,
    threads=1,
    environment="e",
    engine="g",
)
OUTPUTS = {
    "half": torch.tensor([[1.5, -2.0]], dtype=torch.float16),
    "bfloat16/1": torch.tensor([3.0], dtype=torch.bfloat16),
    "scalar": torch.tensor(7, dtype=torch.int64),
    "empty": torch.zeros(0, 3),
    "flags": torch.tensor([True, False]),
    "turned": torch.arange(6, dtype=torch.float64).reshape(2, 3).t(),
}


def written(folder: Path) -> Trace:
    trace = Trace(FACTS, {"torch": "2"}, {"calls": 4}, 1.5, 1000, OUTPUTS)
    write(folder, trace)
    return trace


def test_a_trace_comes_back_as_it_was_written(tmp_path: Path) -> None:
    trace = written(tmp_path)

    found = read(tmp_path)

    assert (found.facts, found.versions, found.counters) == (FACTS, {"torch": "2"}, {"calls": 4})
    for name, tensor in trace.outputs.items():
        assert found.outputs[name].dtype == tensor.dtype
        assert torch.equal(found.outputs[name], tensor)


def test_the_tensors_alone_say_where_they_come_from(tmp_path: Path) -> None:
    written(tmp_path)

    with safe_open(str(tmp_path / "tensors.safetensors"), "pt") as file:
        metadata = file.metadata()

    assert (metadata["tree"], metadata["recipe_sha256"], metadata["seed"]) == ("t", "r", "5")


def cut_tensors(folder: Path) -> None:
    path = folder / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-3])


def another_format(folder: Path) -> None:
    path = folder / "trace.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))


@pytest.mark.parametrize("damage", [cut_tensors, another_format])
def test_a_damaged_trace_is_reported(tmp_path: Path, damage: object) -> None:
    written(tmp_path)
    assert callable(damage)
    damage(tmp_path)

    with pytest.raises(BadTrace):
        read(tmp_path)


def test_a_folder_without_its_json_is_no_trace(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "trace.json").unlink()

    with pytest.raises(BadTrace, match="no readable trace"):
        read(tmp_path)
