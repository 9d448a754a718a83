"""The simulated habana_frameworks on sim:hpu: graphs, counters, training, as a port uses them."""

from __future__ import annotations

import importlib

import pytest

torch = pytest.importorskip("torch")

from porter.device.sim.accounting.ledger import open_accounting  # noqa: E402
from porter.device.sim.activate import simulated  # noqa: E402


@pytest.fixture
def accounting(monkeypatch):
    monkeypatch.setenv("PT_HPU_LAZY_MODE", "1")  # graphs are there in lazy mode only
    with simulated("hpu") as machine:
        yield open_accounting(machine, lazy=True)


def layers():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 2))


def test_mark_step_ends_a_graph_and_the_metric_counts_compilations(accounting):
    import habana_frameworks.torch.core as htcore
    from habana_frameworks.torch.hpu.metrics import metric_global, metric_localcontext

    x = torch.ones(3, device="hpu")
    htcore.mark_step()
    with metric_localcontext("graph_compilation") as local:
        for _ in range(3):
            y = x * 2
            htcore.mark_step()
    assert y.sum().item() == 6
    assert dict(local.stats())["TotalNumber"] == 1
    assert dict(metric_global("graph_compilation").stats())["TotalNumber"] >= 2


def test_cpu_fallbacks_are_the_counters(accounting):
    from habana_frameworks.torch.hpu.metrics import metric_global

    assert dict(metric_global("cpu_fallback").stats()) == {"TotalNumber": 0, "FallbackOps": ""}
    with pytest.raises(KeyError, match="graph_compilation"):
        metric_global("nothing")


def test_torch_hpu_and_the_vendors_module_have_the_same_names(accounting):
    import habana_frameworks.torch.hpu as hthpu

    assert torch.hpu.wrap_in_hpu_graph is hthpu.wrap_in_hpu_graph
    assert hthpu.device_count() == torch.hpu.device_count()
    hthpu.random.manual_seed_all(3)
    first = torch.randn(2, device="hpu")
    torch.hpu.manual_seed_all(3)
    assert torch.equal(first.cpu(), torch.randn(2, device="hpu").cpu())


def test_a_captured_graph_replays_on_its_buffers(accounting):
    import habana_frameworks.torch as ht

    static = torch.ones(3, device="hpu")
    graph = ht.hpu.HPUGraph()
    with ht.hpu.stream(ht.hpu.Stream()):
        graph.capture_begin()
        out = static * 2 + 1
        graph.capture_end()
    static.copy_(torch.full((3,), 5.0).to("hpu"))
    graph.replay()
    assert out.cpu().tolist() == [11.0, 11.0, 11.0]


def test_a_wrapped_module_captures_once_per_shape(accounting):
    import habana_frameworks.torch as ht

    module = layers().to("hpu").eval()
    inputs = [torch.randn(n, 4).to("hpu") for n in (2, 2, 3)]
    with torch.no_grad():
        expected = [module(x).cpu() for x in inputs]
        wrapped = ht.hpu.wrap_in_hpu_graph(module)
        found = [wrapped(x).cpu() for x in inputs]
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))
    assert accounting.counters.totals["captures"] == 2
    assert accounting.counters.totals["replays"] == 3


def test_a_wrapped_function_replays_on_new_inputs(accounting):
    import habana_frameworks.torch as ht

    wrapped = ht.hpu.wrap_in_hpu_graph_func(lambda x: x * 2)
    found = [wrapped(torch.full((2,), n).to("hpu")).cpu().tolist() for n in (1.0, 3.0)]
    assert found == [[2.0, 2.0], [6.0, 6.0]]
    assert accounting.counters.totals["captures"] == 1


def test_a_cached_module_trains_as_the_plain_one(accounting):
    import habana_frameworks.torch as ht

    plain, cached = layers().to("hpu"), layers().to("hpu")
    ht.hpu.ModuleCacher()(model=cached, allow_unused_input=True, inplace=True)
    data = [torch.randn(2, 4).to("hpu") for _ in range(3)]
    for module in (plain, cached):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        for x in data:
            optimizer.zero_grad()
            module(x).square().sum().backward()
            optimizer.step()
    for one, other in zip(plain.parameters(), cached.parameters(), strict=True):
        assert torch.allclose(one.cpu(), other.cpu(), atol=1e-6)
    assert accounting.counters.totals["captures"] == 2


def test_a_cached_module_takes_keywords_and_gives_what_the_module_gives(accounting):
    import habana_frameworks.torch as ht

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layers()

        def forward(self, data, *, factor):
            return {"out": self.layer(data["x"]) * factor, "name": "fixed"}

    model = Model().to("hpu")
    ht.hpu.ModuleCacher(max_graphs=2)(model, inplace=True)
    for value in (1.0, 2.0):
        found = model({"x": torch.full((2, 4), value).to("hpu")}, factor=3)
        expected = model.layer(torch.full((2, 4), value).to("hpu")) * 3
        assert found["name"] == "fixed"
        assert torch.equal(found["out"].cpu(), expected.cpu())
        found["out"].sum().backward()
    assert accounting.counters.totals["captures"] == 2


def test_the_fused_optimizer_compiles_once_where_torchs_compiles_every_step(accounting):
    from habana_frameworks.torch.hpex.optimizers import FusedAdamW

    def compilations(optimizer_type):
        module = layers().to("hpu")
        optimizer = optimizer_type(module.parameters(), lr=1e-2)
        counts = []
        for step in range(5):
            data = torch.full((2, 4), float(step)).to("hpu")
            optimizer.zero_grad()
            module(data).square().sum().backward()
            optimizer.step()
            torch.hpu.synchronize()
            counts.append(accounting.graphs.compilations)
        return counts[-1] - counts[1]

    assert compilations(FusedAdamW) == 0
    assert compilations(torch.optim.AdamW) == 3


def test_fused_attention_is_one_op_of_the_graph(accounting):
    import habana_frameworks.torch.core as htcore
    from habana_frameworks.torch.hpex.kernels import FusedSDPA

    q = torch.randn(1, 2, 4, 8, device="hpu")
    htcore.mark_step()
    before = accounting.graphs.ops
    FusedSDPA.apply(q, q, q, None, 0.0, True)
    htcore.mark_step()
    assert accounting.graphs.ops - before == 1
    assert accounting.counters.totals["cpu_fallback"] == 0


def test_the_card_is_named_alike_everywhere(accounting):
    import habana_frameworks.torch.utils.experimental as htexp

    assert torch.hpu.get_device_name() == "GAUDI2"
    assert htexp._get_device_type() == htexp.synDeviceType.synDeviceGaudi2
    assert htexp.hpu.is_available()
    assert torch.hpu.memory_stats("hpu")["InUse"] == 0


def test_lightning_finds_the_names_it_imports(accounting):
    from habana_frameworks.torch.hpex import hmp
    from habana_frameworks.torch.utils.library_loader import is_habana_available

    assert is_habana_available()
    with pytest.raises(AttributeError, match=r"hmp\.convert is not in porter's simulated module"):
        hmp.convert  # noqa: B018


def test_eager_mode_has_no_graphs_as_on_the_card():
    with simulated("hpu"):
        import habana_frameworks.torch as ht

        assert not hasattr(ht.hpu, "wrap_in_hpu_graph")
        assert not hasattr(torch.hpu, "HPUGraph")
        with pytest.raises(ImportError, match="set PT_HPU_LAZY_MODE=1"):
            from habana_frameworks.torch.hpu import wrap_in_hpu_graph  # noqa: F401


@pytest.mark.parametrize(
    ("device", "lazy", "graphs"),
    [("sim:hpu", False, False), ("sim:hpu@1.19", True, True), ("sim:hpu@1.12", None, True)],
)
def test_a_release_has_its_default_mode_and_its_names(device, lazy, graphs, monkeypatch):
    monkeypatch.delenv("PT_HPU_LAZY_MODE", raising=False)
    with simulated(device) as machine:
        accounting = open_accounting(machine)
        assert (accounting.graphs is not None) == graphs
        assert hasattr(torch.hpu, "HPUGraph") == graphs
        if lazy is None:
            with pytest.raises(ImportError, match=r"no public source has it in release 1\.12"):
                importlib.import_module("habana_frameworks.torch.utils.internal")
        else:
            from habana_frameworks.torch.utils.internal import is_lazy

            assert is_lazy() == lazy
