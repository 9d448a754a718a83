"""CUDA programs, unedited, on sim:hpu and sim:npu through the vendors' migration modules."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from porter.device.sim.accounting.ledger import open_accounting  # noqa: E402
from porter.device.sim.activate import simulated  # noqa: E402
from porter.device.sim.vendors import stub_module  # noqa: E402
from porter.migrate import migration  # noqa: E402
from tests.processes import PATIENCE, own_environment  # noqa: E402

IMPORTS = {
    "hpu": "habana_frameworks.torch.gpu_migration",
    "npu": "torch_npu.contrib.transfer_to_npu",
}


@contextmanager
def served(path, target, root):
    """CUDA calls served by the target and logged, without the vendor's module."""
    with migration.logging_to(path, target=target, root=root) as log:
        migration.activate(target)
        yield log


PROGRAM = """\
import torch

def main():
    assert torch.cuda.is_available()
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2).cuda()
    data = torch.ones(3, 4, device="cuda")
    scaler = torch.cuda.amp.GradScaler()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype=torch.float16):
            loss = model(data).float().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    torch.cuda.synchronize()
    return model.weight
"""


@pytest.fixture(params=["hpu", "npu"])
def device(request):
    with simulated(request.param) as machine:
        open_accounting(machine)
        yield request.param
        migration.deactivate()


@pytest.fixture
def program(tmp_path, monkeypatch):
    (tmp_path / "cuda_program.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("cuda_program", None)


def run(device, root, path):
    with migration.logging_to(path, target=device, root=root):
        importlib.import_module(IMPORTS[device])
        weight = importlib.import_module("cuda_program").main()
        home = weight.device.type
    sys.modules.pop("cuda_program", None)
    sys.modules.pop(IMPORTS[device], None)
    return home


def test_a_cuda_program_trains_on_the_device_and_every_call_is_logged(device, program, tmp_path):
    home = run(device, program, tmp_path / "log.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert home == device
    assert {(row["file"], row["source"]) for row in rows} >= {
        ("cuda_program.py", "assert torch.cuda.is_available()"),
        ("cuda_program.py", "model = torch.nn.Linear(4, 2).cuda()"),
        ("cuda_program.py", 'data = torch.ones(3, 4, device="cuda")'),
        ("cuda_program.py", "scaler = torch.cuda.amp.GradScaler()"),
        ("cuda_program.py", 'with torch.autocast("cuda", dtype=torch.float16):'),
        ("cuda_program.py", "torch.cuda.synchronize()"),
    }
    assert all(row["simulated"] and row["target"] == device for row in rows)


def test_two_runs_give_the_same_log(device, program, tmp_path):
    logs = []
    for number in range(2):
        path = tmp_path / f"log{number}.txt"
        run(device, program, path)
        logs.append(path.read_text())
    assert logs[0] == logs[1]
    assert str(tmp_path) not in logs[0]


@pytest.mark.parametrize(
    ("device", "statement"),
    [
        ("hpu", "from habana_frameworks.torch import gpu_migration"),
        ("hpu", "import habana_frameworks.torch.gpu_migration"),
        ("npu", "from torch_npu.contrib import transfer_to_npu"),
        ("npu", "import torch_npu.contrib.transfer_to_npu"),
    ],
    indirect=["device"],
)
def test_every_form_of_the_import_switches_the_migration_on(device, statement):
    stub_module.missing.clear()
    exec(statement, {})
    assert torch.zeros(1, device="cuda").device.type == device
    assert not stub_module.missing


def test_gaudi_disables_the_scaler_and_leaves_float16(program, tmp_path):
    with simulated("hpu"), served(None, "hpu", tmp_path):
        assert not torch.cuda.amp.GradScaler().is_enabled()
        x = torch.ones(2, 2, device="cuda")
        with torch.autocast("cuda", dtype=torch.float16):
            assert (x @ x).dtype == torch.bfloat16


def test_ascend_keeps_the_scaler_float16_and_is_cuda(tmp_path):
    with simulated("npu"), served(None, "npu", tmp_path):
        scaler = torch.cuda.amp.GradScaler()
        assert scaler.is_enabled()
        assert type(scaler).__module__.startswith("porter.device.sim.ascend")
        x = torch.ones(2, 2, device="cuda")
        assert x.is_cuda
        assert torch.cuda.DoubleTensor([1.0]).dtype == torch.float32
        with torch.autocast("cuda", dtype=torch.float16):
            assert (x @ x).dtype == torch.float16


def test_the_environment_switches_gaudis_migration_on_before_there_is_a_log(monkeypatch, tmp_path):
    monkeypatch.setenv("PT_HPU_GPU_MIGRATION", "1")
    with simulated("hpu"):
        assert migration.activate_from_environment("hpu")
        assert torch.zeros(1, device="cuda").device.type == "hpu"
        with migration.logging_to(None, target="hpu", root=tmp_path) as log:
            assert torch.ones(1, device="cuda").device.type == "hpu"
        assert [entry.asked for entry in log] == ["torch.ones(1, device='cuda')"]
        assert torch.zeros(1, device="cuda").device.type == "hpu"
        migration.deactivate()


def test_the_log_is_written_when_the_program_fails(device, tmp_path):
    def failing():
        with served(tmp_path / "log.txt", device, Path(__file__).parent):
            torch.zeros(1, device="cuda")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert "torch.zeros(1, device='cuda')" in (tmp_path / "log.txt").read_text()


ONE_RANK = """\
import sys
from pathlib import Path
import torch
from porter.device.sim.accounting.ledger import open_accounting
from porter.device.sim.activate import simulated
from porter.migrate import migration

device, folder = sys.argv[1], Path(sys.argv[2])
with simulated(device) as machine:
    open_accounting(machine)
    with migration.logging_to(None, target=device, root=folder) as log:
        migration.activate(device)
        torch.distributed.init_process_group(
            "nccl", init_method=f"file://{folder / 'store'}", rank=0, world_size=1
        )
        torch.cuda.set_device(0)
        module = torch.nn.parallel.DistributedDataParallel(
            torch.nn.Linear(2, 1).cuda(), device_ids=[0], output_device=0
        )
        out = module(torch.ones(1, 2, device="cuda"))
        out.sum().backward()
        print(torch.distributed.get_backend(), out.device.type)
        torch.distributed.destroy_process_group()
    print(*[entry.asked for entry in log], sep="\\n")
"""


@pytest.mark.parametrize(
    ("device", "backend"),
    [
        ("hpu", "nccl"),
        pytest.param("npu", "hccl", marks=pytest.mark.slow),
    ],
)
def test_a_distributed_program_finds_its_one_rank(device, backend, tmp_path):
    # A process group has threads of its own, in a process of its own: nothing they do stays here.
    command = [sys.executable, "-c", ONE_RANK, device, str(tmp_path)]
    done = subprocess.run(
        command, env=own_environment(), capture_output=True, text=True, timeout=PATIENCE
    )

    assert done.returncode == 0, done.stderr[-2000:]
    first, *asked = done.stdout.splitlines()
    assert first == f"{backend} {device}"
    assert "torch.distributed.init_process_group('nccl')" in asked


def test_saved_tensors_load_to_the_device(device, tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pt")
    with served(None, device, tmp_path):
        found = torch.load(tmp_path / "w.pt", map_location="cuda:0")
    assert found["w"].device.type == device


def test_cuda_graphs_are_the_devices_own(tmp_path):
    with simulated("npu") as machine:
        open_accounting(machine)
        with served(None, "npu", tmp_path) as log:
            x = torch.ones(2, device="cuda")
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                y = x + 1
            graph.replay()
            assert y.cpu().tolist() == [2.0, 2.0]
            assert {entry.kind for entry in log} == {"match"}


def test_cuda_takes_its_device_by_name_too(device):
    importlib.import_module(IMPORTS[device])
    module = torch.nn.Linear(2, 2).cuda(device=torch.device("cuda", 0))
    assert module.weight.device.type == device
    assert torch.ones(2).cuda(device="cuda:0").device.type == device


@pytest.mark.parametrize("target", ["hpu", "npu"])
def test_names_outside_torch_cuda_are_the_targets(target, tmp_path):
    checkpoint = tmp_path / "cuda.pt"
    with simulated("cuda"):
        torch.save({"w": torch.ones(2, device="cuda")}, checkpoint)
    with simulated(target) as machine:
        open_accounting(machine)
        with served(None, target, tmp_path) as log:
            generator = torch.Generator(device="cuda").manual_seed(0)
            assert generator.device.type == target
            assert isinstance(generator, torch.Generator)
            assert torch.randn(2, generator=generator, device="cuda").device.type == target
            assert torch.load(checkpoint)["w"].device.type == target
            assert isinstance(torch.Event(device="cuda"), torch.Event)
            assert torch.fft.fftfreq(4, device="cuda").device.type == target
            assert torch.UntypedStorage(8, device="cuda").device.type == target
            assert torch.cuda.default_generators[0].device.type == target
            assert torch.utils._triton.has_triton() is False
            assert isinstance(torch.cuda.FloatTensor(2), torch.cuda.FloatTensor)
            with torch.autocast("cuda", dtype=torch.bfloat16):
                assert torch.get_autocast_dtype("cuda") == torch.bfloat16
            torch.cuda.memory._record_memory_history()
            served_names = {entry.asked.partition("(")[0] for entry in log}
        assert {"torch.Generator", "torch.Event", "torch.fft.fftfreq"} <= served_names


def test_asarray_on_cuda_is_served_on_gaudi_alone(device):
    with served(None, device, Path.cwd()) as log:
        if device == "npu":
            with pytest.raises(RuntimeError, match="not linked with support for cuda"):
                torch.asarray([1.0], device="cuda")
        else:
            assert torch.asarray([1.0], device="cuda").device.type == "hpu"
            assert [entry.own_reading for entry in log] == [True]


def test_data_parallel_is_not_served(device):
    """PyTorch's DataParallel looks for parameters on cuda, or for devices that it knows."""
    text = "device cuda:0" if device == "npu" else "no available devices"
    with served(None, device, Path.cwd()), pytest.raises(RuntimeError, match=text):
        torch.nn.DataParallel(torch.nn.Linear(2, 2).cuda())(torch.ones(4, 2, device="cuda"))


@pytest.mark.filterwarnings("ignore:get_device_capability")
def test_a_broadcast_fails_where_the_card_has_no_capability(monkeypatch):
    distributed = torch.distributed
    monkeypatch.delenv("TORCH_NPU_DEVICE_CAPABILITY", raising=False)
    with simulated("npu"), served(None, "npu", Path.cwd()):
        distributed.init_process_group("nccl", store=distributed.HashStore(), rank=0, world_size=1)
        try:
            rows = torch.ones(2, device="cuda")
            if "get_device_capability" in inspect.getsource(distributed.broadcast):
                with pytest.raises(TypeError, match="subscriptable"):
                    distributed.broadcast(rows, 0)
            monkeypatch.setenv("TORCH_NPU_DEVICE_CAPABILITY", "8.0")
            distributed.broadcast(rows, 0)
        finally:
            distributed.destroy_process_group()
