"""The simulated vendor modules against the published wheels: every simulated name accepts the
vendor's calls, and the documentation states the coverage measured here."""

from __future__ import annotations

import inspect
import json
import os
import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from porter.device.sim import contract  # noqa: E402
from porter.device.sim.activate import simulated  # noqa: E402
from porter.device.sim.contract.published import of_schema  # noqa: E402
from tests.device.sim.contract import coverage  # noqa: E402
from tests.device.sim.contract.coverage import disagreement, function_with  # noqa: E402

WHEELS = os.environ.get("PORTER_TEST_WHEELS")  # before the environment is sealed
DOCS = Path(__file__).parents[4] / "docs" / "simulator-vendor-modules.md"

REQUIRED: dict[str, frozenset[str]] = {
    "hpu": frozenset(
        {
            "habana_frameworks.torch.core.mark_step",
            "habana_frameworks.torch.hpex.kernels.FusedSDPA.apply",
            "habana_frameworks.torch.hpex.normalization.FusedClipNorm",
            "habana_frameworks.torch.hpex.optimizers.FusedAdamW",
            "habana_frameworks.torch.hpu.HPUGraph",
            "habana_frameworks.torch.hpu.ModuleCacher",
            "habana_frameworks.torch.hpu.wrap_in_hpu_graph",
            "habana_frameworks.torch.utils.experimental._get_device_type",
        }
    ),
    "npu": frozenset(
        {
            "torch_npu.npu.NPUGraph",
            "torch_npu.npu.amp.GradScaler",
            "torch_npu.npu.config",
            "torch_npu.npu.set_compile_mode",
            "torch_npu.npu_confusion_transpose",
            "torch_npu.npu_format_cast",
            "torch_npu.npu_fusion_attention",
            "torch_npu.npu_geglu",
            "torch_npu.optim.NpuFusedAdamW",
        }
    ),
}
"""Names that must never be missing."""


@pytest.fixture(params=["hpu", "npu"])
def package(request, monkeypatch):
    monkeypatch.setenv("PT_HPU_LAZY_MODE", "1")  # eager mode has no graphs
    with simulated(request.param):
        yield request.param


def test_simulated_names_accept_the_vendors_calls(package):
    assert [found.disagreements for found in coverage.measure(package)] == [()] * len(
        coverage.CONTRACTS[package]
    )


def test_the_documented_coverage_is_the_measured_one(package):
    text = DOCS.read_text(encoding="utf-8")
    for found in coverage.measure(package):
        assert found.sentence in text


def test_every_required_name_is_simulated(package):
    present = frozenset().union(*(found.present for found in coverage.measure(package)))
    assert REQUIRED[package] <= present


def test_names_of_lazy_mode_are_absent_in_eager_mode(monkeypatch):
    monkeypatch.setenv("PT_HPU_LAZY_MODE", "0")
    with simulated("hpu"):
        from porter.device.sim.vendors.stub_module import LAZY_MODE_ONLY, look_up

        assert "habana_frameworks.torch.hpu.wrap_in_hpu_graph" in LAZY_MODE_ONLY
        assert not [name for name in LAZY_MODE_ONLY if look_up(name)[0]]


def test_contract_files_name_what_they_were_read_from():
    for name in (contract.TORCH_NPU, contract.CLIENT):
        data = contract.load(name)
        assert data["wheel"].endswith(".whl")
        assert re.fullmatch(r"[0-9a-f]{64}", data["sha256"])
        assert data["symbols"]
    bridge = contract.load(contract.HABANA)
    assert re.fullmatch(r"[0-9a-f]{40}", bridge["commit"])
    assert bridge["symbols"]["torch.ops.hpu.fp8_gemm_v2"]["kind"] == "op"
    assert bridge["environment"]["PT_HPU_LAZY_MODE"] is not None


def test_contract_files_hold_names_and_signatures_alone():
    for name in (contract.TORCH_NPU, contract.CLIENT, contract.HABANA):
        for symbol, row in contract.load(name)["symbols"].items():
            assert row.keys() <= {"kind", "signature", "members", "mode", "calls"}, symbol
            assert re.fullmatch(r"(\(.*\))?", row.get("signature", "")), symbol


def test_a_schema_becomes_a_python_signature():
    name, signature = of_schema(
        "npu_x.out(Tensor(a!) self, int[2] size=[1, 2], *, str mode='none', Tensor? w=None)"
        " -> Tensor"
    )
    assert name == "npu_x.out"
    assert signature == "(self, size=[1, 2], *, mode='none', w=None)"
    assert str(inspect.signature(function_with(signature))) == (
        "(self, size=None, *, mode=None, w=None)"
    )


@pytest.mark.parametrize(
    ("theirs", "ours", "why"),
    [
        ("(a, b=1)", lambda a, b=2: None, None),
        ("(a, b=1)", lambda a: None, "no parameter 'b'"),
        ("(a, b=1)", lambda b, a=1: None, "parameter 1 is 'b'"),
        ("(a, *, c=None)", lambda a: None, "no keyword 'c'"),
        ("(a)", lambda a, extra: None, "'extra' must be given"),
        ("(a, b)", lambda *args, **kwargs: None, None),
    ],
)
def test_disagreements_are_described(theirs, ours, why):
    found = disagreement(theirs, ours)
    assert found is None if why is None else why in found


@pytest.mark.slow
@pytest.mark.skipif(
    "WHEELS is None",
    reason="set PORTER_TEST_WHEELS to a folder with the wheels (and the bridge's git directory)",
)
def test_the_published_wheels_give_these_files_again(tmp_path):
    from porter.device.sim.contract import regenerate

    sources = sorted(Path(WHEELS).glob("*.whl"))
    assert len(sources) == len(regenerate.REQUIREMENTS)
    sources += [path for path in Path(WHEELS).iterdir() if (path / "HEAD").is_file()]
    regenerate.regenerate(sources, tmp_path, tmp_path)
    written = [name for name in contract.ALL if (tmp_path / f"{name}.json").is_file()]
    assert {contract.TORCH_NPU, contract.CLIENT} <= set(written)
    for name in written:
        made = json.loads((tmp_path / f"{name}.json").read_text())
        kept = contract.load(name)
        assert made["version"] == kept["version"]
        assert made.get("symbols", made.get("classes")) == kept.get("symbols", kept.get("classes"))


def test_live_functions_have_signatures():
    assert inspect.signature(disagreement) is not None
