"""The simulated torch_npu on sim:npu: operators, graphs, training, as a port uses them."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

torch = pytest.importorskip("torch")

from porter.device.sim.accounting.ledger import open_accounting  # noqa: E402
from porter.device.sim.activate import simulated  # noqa: E402


@pytest.fixture
def accounting():
    with simulated("npu") as machine:
        yield open_accounting(machine)


def layers():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 2))


def test_operators_run_on_the_device_and_are_those_of_torch_ops(accounting):
    import torch_npu

    x = torch.randn(3, 8).npu().requires_grad_()
    out, gelu = torch_npu.npu_geglu(x, -1, 1)
    (out.sum() + gelu.sum()).backward()
    assert out.device == x.grad.device == torch.device("npu:0")
    assert torch_npu.npu_geglu is torch.ops.npu.npu_geglu
    assert accounting.counters.totals["cpu_fallback"] == 0


def test_attention_with_dropout_draws_from_the_devices_generator(accounting):
    import torch_npu

    q = torch.randn(1, 4, 16).half().npu()

    def run():
        torch.npu.manual_seed(5)
        return torch_npu.npu_fusion_attention(q, q, q, 2, "BSH", scale=0.3, keep_prob=0.5)[0].cpu()

    assert torch.equal(run(), run())


def test_autocast_does_not_reach_into_a_fused_kernel(accounting):
    import torch_npu

    q = torch.randn(1, 4, 16)
    plain = torch_npu.npu_fusion_attention(q, q, q, 2, "BSH", scale=0.3)[0]
    on_device = q.npu().requires_grad_()
    with torch.autocast("npu", dtype=torch.float16):
        out = torch_npu.npu_fusion_attention(on_device, on_device, on_device, 2, "BSH", scale=0.3)
        out[0].sum().backward()
    assert out[0].dtype == torch.float32
    assert torch.equal(out[0].cpu(), plain)


def test_a_captured_graph_replays_fused_kernels_forward_and_backward(accounting):
    import torch_npu

    x = torch.randn(3, 8).npu().requires_grad_()
    graph = torch.npu.NPUGraph()
    with torch.npu.graph(graph):
        out, _ = torch_npu.npu_geglu(x)
        (gradient,) = torch.autograd.grad(out.sum(), x)
    with torch.no_grad():
        x.copy_(torch.full((3, 8), 0.5).npu())
    graph.replay()
    fresh = x.detach().cpu().requires_grad_()
    expected, _ = torch_npu.npu_geglu(fresh)
    assert torch.equal(out.cpu(), expected)
    assert torch.equal(gradient.cpu(), torch.autograd.grad(expected.sum(), fresh)[0])


def test_formats_follow_the_tensor(accounting):
    import torch_npu

    weight = torch_npu.npu_format_cast(torch.ones(16, 16).npu(), 29)
    assert weight.device.type == "npu"
    assert torch_npu.get_npu_format(weight) == 29


@pytest.mark.parametrize("dynamic", [True, False])
def test_a_training_step_in_float16_reads_the_host_only_when_the_scaler_is_dynamic(
    accounting, dynamic
):
    import torch_npu

    module = layers().npu()
    optimizer = torch_npu.optim.NpuFusedAdamW(module.parameters(), lr=1e-2)
    scaler = torch_npu.npu.amp.GradScaler(init_scale=64.0, dynamic=dynamic)
    x = torch.randn(2, 4).npu()

    def step():
        optimizer.zero_grad()
        with torch.autocast("npu", dtype=torch.float16):
            loss = module(x).float().square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    step()
    before = accounting.counters.totals["host_sync"]
    step()
    syncs = accounting.counters.totals["host_sync"] - before
    assert syncs > 0 if dynamic else syncs == 0
    assert all(p.device.type == "npu" for p in module.parameters())


def test_fused_clipping_reads_the_host_once(accounting):
    import torch_npu

    module = layers().npu()
    module(torch.ones(2, 4).npu()).sum().backward()
    optimizer = torch_npu.optim.NpuFusedAdamW(module.parameters())
    before = accounting.counters.totals["host_sync"]
    norm = optimizer.clip_grad_norm_fused_(0.1)
    assert accounting.counters.totals["host_sync"] - before == 1
    assert norm.device.type == "npu"


def test_a_captured_graph_replays_fusion_attention_with_its_statistics(accounting):
    import torch_npu

    q = torch.randn(1, 4, 16).npu()
    graph = torch.npu.NPUGraph()
    with torch.npu.graph(graph):
        out, top, total, *_ = torch_npu.npu_fusion_attention(q, q, q, 2, "BSH")
    q.copy_(torch.randn(1, 4, 16))
    graph.replay()
    fresh = torch_npu.npu_fusion_attention(q, q, q, 2, "BSH")
    for replayed, expected in zip((out, top, total), fresh, strict=False):
        assert torch.equal(replayed.cpu(), expected.cpu())


def test_an_npu_graph_has_no_results_before_its_first_replay(accounting):
    static = torch.ones(3).npu()
    graph = torch.npu.NPUGraph()
    with torch.npu.graph(graph):
        out = static * 2
    assert torch.isnan(out.cpu()).all()
    static.copy_(torch.full((3,), 4.0).npu())
    graph.replay()
    assert out.cpu().tolist() == [8.0, 8.0, 8.0]


def test_graphed_callables_train_as_the_plain_module(accounting):
    plain, graphed = layers().npu(), layers().npu()
    sample = (torch.randn(2, 4).npu(),)
    torch.npu.make_graphed_callables(graphed, sample)
    for module in (plain, graphed):
        module(torch.full((2, 4), 0.5).npu()).square().sum().backward()
    for one, other in zip(plain.parameters(), graphed.parameters(), strict=True):
        assert torch.allclose(one.grad.cpu(), other.grad.cpu(), atol=1e-6)


def test_switches_are_kept(accounting):
    import torch_npu

    torch.npu.set_compile_mode(jit_compile=True)
    assert not torch_npu.npu.is_jit_compile_false()
    torch.npu.set_compile_mode(jit_compile=False)
    torch.npu.config.allow_internal_format = True
    assert torch_npu.npu.config.allow_internal_format
    assert "Ascend910" in torch.npu.get_device_name(0)


def test_tensor_types_make_and_recognise_tensors_of_the_device(accounting):
    made = torch.npu.FloatTensor([1.0])
    assert made.device.type == "npu"
    assert isinstance(made, torch.npu.FloatTensor)
    assert not isinstance(torch.ones(1), torch.npu.FloatTensor)


def test_autocast_of_the_vendor_is_float16_by_default(accounting):
    import torch_npu

    x = torch.randn(2, 4).npu()
    weight = torch.randn(4, 4).npu()
    with torch_npu.npu.amp.autocast():
        assert (x @ weight).dtype == torch.float16
        assert torch.npu.is_autocast_enabled()


def test_names_that_only_torch_npu_has_raise_an_error_that_says_so(accounting):
    import torch_npu

    with pytest.raises(AttributeError, match=r"npu_mla_prolog is not in porter.*2\.13\.0 knows it"):
        torch_npu.npu_mla_prolog  # noqa: B018
    with pytest.raises(ImportError, match=r"torch_npu\.multiprocessing is not in porter"):
        import torch_npu.multiprocessing


def test_properties_that_the_card_lacks_are_none(accounting):
    properties = torch.npu.get_device_properties(0)
    assert properties.multi_processor_count == properties.vector_core_num == 48
    assert isinstance(properties.L2_cache_size, int)
    for name in ("major", "minor", "is_integrated", "warp_size", "gcnArchName"):
        assert getattr(properties, name) is None


@pytest.mark.parametrize(
    ("given", "found", "warned"),
    [(None, None, "TORCH_NPU_DEVICE_CAPABILITY"), ("8", None, "expected major.minor")],
)
def test_the_capability_is_none_unless_the_variable_gives_it(
    accounting, monkeypatch, given, found, warned
):
    monkeypatch.setenv("TORCH_NPU_DEVICE_CAPABILITY", given or "")
    with pytest.warns(UserWarning, match=warned):
        assert torch.npu.get_device_capability("npu:0") is found
    monkeypatch.setenv("TORCH_NPU_DEVICE_CAPABILITY", "9.0")
    assert torch.npu.get_device_capability() == (9, 0)


def test_data_parallel_compares_the_cards_and_runs(accounting):
    model = torch.nn.DataParallel(layers().npu())
    assert model.device_ids == [0, 1]
    rows = torch.randn(4, 4).npu()
    assert torch.equal(model(rows).cpu(), model.module(rows).cpu())


EARLIER = ("launch_graph", "enable_graph_mode", "profile", "global_step_inc")


@pytest.mark.parametrize(("device", "old"), [("sim:npu", False), ("sim:npu@1.8.1", True)])
def test_a_release_has_the_names_of_its_time(device, old, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with simulated(device):
        assert [hasattr(torch.npu, name) for name in EARLIER] == [old] * 4
        assert hasattr(torch.npu, "NPUGraph") != old
        assert (importlib.util.find_spec("torchair") is None) == old
        collect_env = importlib.import_module("torch_npu.utils.collect_env")
        assert collect_env.get_cann_version() == "not known"
        if not old:
            with pytest.raises(ImportError, match=r"no public source has it in release 2\.13"):
                importlib.import_module("torch_npu.utils.profiler")
            return
        with pytest.raises(RuntimeError, match="must be graph mode"):
            torch.npu.launch_graph()
        torch.npu.enable_graph_mode()
        torch.npu.launch_graph()
        torch.npu.disable_graph_mode()
        with pytest.raises(TypeError, match="step must be a int"):
            torch.npu.set_start_fuzz_compile_step("3")
        torch.npu.global_step_inc()
        with pytest.warns(UserWarning, match="nothing of a simulated card is traced"):
            torch.npu.profile("found")
        assert (tmp_path / "found").is_dir()


def test_the_old_profiler_traces_one_step_and_ends_the_program(monkeypatch, tmp_path):
    with simulated("sim:npu@1.8.1"):
        from torch_npu.utils.profiler import Profile

        monkeypatch.setattr(Profile, "_only", None)
        found = Profile(start_step=2, save_path=str(tmp_path), profile_type="TORCH")
        assert Profile() is found
        found.start()
        with pytest.raises(ValueError, match="only be called once"):
            found.start()
        found.end()
        found.start()
        torch.ones(2, device="npu") * 2
        with pytest.raises(SystemExit):
            found.end()
        assert len(list(tmp_path.glob("torch_prof_*.json"))) == 1
        monkeypatch.setattr(Profile, "_only", None)
        off = Profile(start_step=1)
        off.start()
        off.end()
