"""CUDA calls served by another device and logged. The target here is PyTorch's meta device."""

from __future__ import annotations

import json
import types
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from porter.migrate import table  # noqa: E402
from porter.migrate.calls import Unsupported  # noqa: E402
from porter.migrate.log import OWN_LINE, MigrationLog  # noqa: E402
from porter.migrate.migration import Migration  # noqa: E402

HERE = Path(__file__).parent


class Stream:
    def __init__(self, device=None):
        self.device = device


def target():
    module = types.ModuleType("torch.meta")
    module.is_available = lambda: True
    module.device_count = lambda: 2
    module.current_device = lambda: 0
    module.set_device = lambda device: None
    module.synchronize = lambda device=None: None
    module.manual_seed_all = lambda seed: None
    module.Stream = Stream
    return module


@pytest.fixture
def migration(request):
    source = table.table_of("hpu")
    rules = table.Table(source.vendor, "meta", source.rules, source.device_functions)
    made = Migration(rules, target(), MigrationLog("meta", HERE))
    made.activate()
    yield made
    made.deactivate()


def entries(migration):
    return [(entry.kind, entry.asked, entry.served) for entry in migration.log]


def test_a_device_argument_moves_and_is_logged_with_its_line(migration):
    made = torch.zeros(2, device="cuda:1")
    assert made.device.type == "meta"
    (entry,) = migration.log
    assert entry.file == "test_migration.py"
    assert entry.source == 'made = torch.zeros(2, device="cuda:1")'
    assert entry.asked == "torch.zeros(2, device='cuda:1')"
    assert entry.served == "torch.zeros(2, device='meta:1')"


def test_a_site_is_logged_once_however_often_it_runs(migration):
    for _ in range(3):
        torch.ones(1, device="cuda")
    assert len(migration.log) == 1


@pytest.mark.parametrize(
    "move",
    [
        lambda t, m: t.cuda(),
        lambda t, m: t.to("cuda"),
        lambda t, m: t.to(torch.device("cuda", 0)),
        lambda t, m: t.to(device="cuda", dtype=torch.float16),
        lambda t, m: m.cuda().weight,
        lambda t, m: m.to("cuda").weight,
        lambda t, m: m.to(0).weight,
        lambda t, m: m.cuda(1).weight,
        lambda t, m: torch.nn.Linear(1, 1, device="cuda").weight,
        lambda t, m: torch.zeros_like(t, device="cuda"),
        lambda t, m: t.new_zeros(3, device="cuda"),
    ],
)
def test_every_way_of_naming_the_device_ends_on_the_target(migration, move):
    moved = move(torch.ones(2), torch.nn.Linear(1, 1))
    assert moved.device.type == "meta"
    assert any(entry.kind == "match" for entry in migration.log)


def test_what_does_not_name_cuda_is_not_logged(migration):
    torch.zeros(2, device="cpu").to(torch.float16)
    torch.nn.Linear(1, 1).to("cpu")
    assert len(migration.log) == 0


def test_calls_of_torch_cuda_are_served_by_the_target(migration):
    assert torch.cuda.is_available() is True
    assert torch.cuda.device_count() == 2
    torch.cuda.set_device("cuda:1")
    assert entries(migration) == [
        ("match", "torch.cuda.is_available()", "torch.hpu.is_available"),
        ("modified", "torch.cuda.device_count()", "the number of HPUs"),
        ("match", "torch.cuda.set_device('cuda:1')", "torch.hpu.set_device"),
    ]


def test_a_call_without_counterpart_raises_and_is_logged(migration):
    with pytest.raises(Unsupported, match=r"torch\.cuda\.get_arch_list has no counterpart"):
        torch.cuda.get_arch_list()
    assert entries(migration)[0][0] == "unsupported"


def test_a_default_tensor_type_becomes_a_default_device(migration):
    try:
        torch.set_default_tensor_type(torch.cuda.HalfTensor)
        made = torch.zeros(2)
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert (made.device.type, made.dtype) == ("meta", torch.float16)


def test_calls_that_the_table_ignores_do_nothing(migration):
    torch.cuda.empty_cache()
    with torch.cuda.nvtx.range("step"):
        pass
    assert [kind for kind, *_ in entries(migration)] == ["unsupported", "unsupported"]


def test_classes_are_made_by_the_target_and_recognised(migration):
    stream = torch.cuda.Stream(device="cuda")
    assert isinstance(stream, Stream)
    assert isinstance(stream, torch.cuda.Stream)
    assert stream.device == "meta"


def test_cuda_tensor_types_are_modified(migration):
    made = torch.cuda.FloatTensor([1.0, 2.0])
    assert made.device.type == "meta"
    assert made.dtype == torch.float32
    assert torch.cuda.LongTensor(2, 3).shape == (2, 3)
    assert [kind for kind, *_ in entries(migration)] == ["modified", "modified"]


def test_calls_of_torch_itself_are_served_but_not_logged(migration):
    weight = torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    torch.optim.AdamW([weight]).step()
    torch.manual_seed(0)
    assert len(migration.log) == 0


def test_nccl_becomes_hccl_and_is_still_called_nccl(migration, monkeypatch):
    seen = []
    distributed = torch.distributed
    migration.deactivate()
    monkeypatch.setattr(
        distributed, "init_process_group", lambda backend, **_: seen.append(backend)
    )
    migration.activate()
    distributed.init_process_group("nccl", rank=0)
    assert seen == ["hccl"]
    assert entries(migration)[0][1] == "torch.distributed.init_process_group('nccl')"


def test_everything_is_put_back():
    before = (torch.zeros, torch.Tensor.to, torch.Tensor.cuda, torch.cuda.is_available)
    source = table.table_of("hpu")
    rules = table.Table(source.vendor, "meta", source.rules, source.device_functions)
    made = Migration(rules, target(), MigrationLog("meta"))
    made.activate()
    assert torch.zeros is not before[0]
    made.deactivate()
    assert (torch.zeros, torch.Tensor.to, torch.Tensor.cuda, torch.cuda.is_available) == before


def test_the_text_log_has_the_vendors_form(migration, tmp_path):
    torch.ones(1, device="cuda")
    migration.log.write(tmp_path / "log.txt")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert lines[0].startswith("# simulated migration cuda -> meta: 1 sites matched")
    assert lines[2].startswith("test_migration.py:")
    assert lines[3] == '    [context]: torch.ones(1, device="cuda")'
    assert lines[4].startswith("    [meta_match]: torch.ones(1, device='cuda') --> torch.ones(1, ")


def test_the_json_log_has_one_object_a_line_without_times(migration, tmp_path):
    torch.ones(1, device="cuda")
    migration.log.write(tmp_path / "log.jsonl")
    (row,) = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert row["simulated"] is True
    assert row["kind"] == "match"
    assert "time" not in row


def test_a_failed_write_leaves_the_old_log(tmp_path, monkeypatch):
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "log.txt"
    path.write_text("old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        MigrationLog("hpu").write(path)
    assert path.read_text() == "old"
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("target", ["hpu", "npu"])
def test_every_rule_names_a_source_that_the_table_describes(target):
    rules = table.table_of(target).rules.values()
    data = json.loads((table.DATA / table.FILES[target]).read_text())
    assert {rule.source for rule in rules} <= set(data["sources"])
    assert all(source["date"] for source in data["sources"].values())
    assert {rule.kind for rule in rules} <= {"match", "modified", "unsupported"}


def test_a_call_that_porter_serves_by_its_own_reading_is_marked(migration):
    torch.cuda.empty_cache()
    torch.cuda.is_available()
    text = migration.log.as_text()
    assert [entry.own_reading for entry in migration.log] == [True, False]
    assert "0 modified, 1 unsupported; 1 of them by porter's own reading" in text
    assert text.count(OWN_LINE) == 1
    assert f"torch.cuda.empty_cache() --> nothing\n    {OWN_LINE}\n" in text
