"""Checkpoints written on the device can be read anywhere."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from porter.device.sim.activate import simulated


def _through_file(value: object, **options: object) -> object:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, **options)


def test_a_state_dict_comes_back_to_its_device(kind: str) -> None:
    model = nn.Linear(2, 2).to(f"{kind}:1")
    state = _through_file(model.state_dict())
    assert {str(tensor.device) for tensor in state.values()} == {f"{kind}:1"}
    other = nn.Linear(2, 2)
    other.load_state_dict(state)  # copies to the host
    assert torch.equal(other.weight, model.weight.cpu())


@pytest.mark.parametrize("spelling", ["string", "device", "mapping", "function"])
def test_map_location_is_honoured(kind: str, spelling: str) -> None:
    here = f"{kind}:0"
    location = {
        "string": kind,
        "device": torch.device(kind),
        "mapping": {"cpu": here},
        "function": lambda storage, _: torch.serialization.default_restore_location(storage, here),
    }[spelling]
    loaded = _through_file(torch.arange(3), map_location=location)
    assert str(loaded.device) == here
    back = _through_file(loaded, map_location="cpu")
    assert back.is_cpu
    assert back.tolist() == [0, 1, 2]


def test_shared_storage_stays_shared(kind: str) -> None:
    base = torch.zeros(4, device=kind)
    first, second = _through_file([base, base[1:3]])
    second.fill_(7)
    assert first.tolist() == [0, 7, 7, 0]


def test_parameters_and_gradients_flags_survive(kind: str) -> None:
    parameter = nn.Parameter(torch.ones(2, device=kind))
    for loaded in (_through_file(parameter), pickle.loads(pickle.dumps(parameter))):
        assert isinstance(loaded, nn.Parameter)
        assert loaded.requires_grad
        assert loaded.device.type == kind
    plain = pickle.loads(pickle.dumps(torch.ones(2, device=kind, requires_grad=True)))
    assert plain.requires_grad
    assert not isinstance(plain, nn.Parameter)


def test_a_whole_module_and_optimizer_state_survive(kind: str) -> None:
    model = nn.Linear(2, 2).to(kind)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2, device=kind)).sum().backward()
    optimizer.step()
    again = _through_file(model, weights_only=False)
    assert again.weight.device.type == kind
    fresh = torch.optim.AdamW(again.parameters())
    fresh.load_state_dict(_through_file(optimizer.state_dict()))
    assert fresh.state[again.weight]["exp_avg"].device.type == kind


READS = """
import sys, torch
assert "porter" not in sys.modules
for path in sys.argv[1:]:
    print(torch.load(path, map_location="cpu")["bias"].tolist())
"""


def test_plain_pytorch_reads_checkpoints_of_the_devices(tmp_path: Path) -> None:
    paths, expected = [], []
    for kind in ("cuda", "hpu", "npu"):
        with simulated(kind):
            state = nn.Linear(2, 2).to(kind).state_dict()
            paths.append(tmp_path / f"{kind}.pt")
            torch.save(state, paths[-1])
            expected.append(f"{state['bias'].tolist()}\n")
    command = [sys.executable, "-c", READS, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "".join(expected)


def test_safetensors_writes_and_reads_the_device(kind: str, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    pytest.importorskip("numpy")
    path = str(tmp_path / "model.safetensors")
    safetensors.save_file({"w": torch.arange(3.0, device=kind)}, path)
    assert safetensors.load_file(path)["w"].is_cpu
    loaded = safetensors.load_file(path, device=f"{kind}:0")["w"]
    assert loaded.device.type == kind
    assert loaded.tolist() == [0, 1, 2]


def test_a_storage_says_on_which_device_it_is(kind: str) -> None:
    tensor = torch.arange(3.0, device=f"{kind}:1")
    for storage in (tensor.untyped_storage(), tensor._typed_storage()):
        assert storage.device == torch.device(kind, 1)
        assert getattr(storage, f"is_{kind}") is True
        assert storage.cpu().device == torch.device("cpu")
    assert tensor.cpu().untyped_storage().device == torch.device("cpu")


def test_a_storage_is_shared_by_the_tensors_made_of_it(kind: str) -> None:
    tensor = torch.arange(3.0, device=kind)
    view = torch.empty(0, device=kind).set_(tensor.untyped_storage())
    view[1] = 7.0
    assert tensor.tolist() == [0.0, 7.0, 2.0]
    assert tensor._typed_storage()[1] == 7.0
