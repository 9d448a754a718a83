"""Where a level departs: the planted fault is named, whatever kind it is of."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.verify.divergence.search import Divergence, Found, OpDivergence, search
from porter.verify.divergence.timeline import Timeline, read_timeline
from porter.verify.divergence.tolerance import Allowance
from tests.verify.single_run import SingleRun, single_runs

NET = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        h = self.conv(self.norm(x))
        gate = torch.softmax(h, dim=1)
        return x + h * gate


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.out = nn.Linear(width, 4)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.out(x.mean((2, 3)))


def guide(a, b, w):
    return a + w * (b - a)
"""
PROBE = """
import torch
from net import Net, guide

def run(probe):
    net = probe.alive(Net())
    x = probe.normal("x", 2, 8, 6, 4)
    with torch.no_grad():
        a, b = net(x), net(x * 2)
        probe.record("guided", guide(a, b, 3.0))
"""


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SingleRun]:
    with single_runs(tmp_path_factory.mktemp("divergence"), Path(sys.executable)) as runs:
        yield runs


class Timelines:
    """Runs of NET and of its variants, each made once for all tests."""

    def __init__(self, single: SingleRun) -> None:
        self.single = single
        self.made: dict[tuple[str, str, str, str], Timeline] = {}

    def of(self, text: str, device: str, dtype: str, activations: str) -> Timeline:
        key = (text, device, dtype, activations)
        if key not in self.made:
            files = {"net.py": text}
            self.single.trace(PROBE, files, device=device, dtype=dtype, activations=activations)
            self.made[key] = read_timeline(self.single.left)
        return self.made[key]


@pytest.fixture(scope="module")
def timelines(single: SingleRun) -> Timelines:
    return Timelines(single)


def compare(timelines: Timelines, old: str, new: str, *, device: str = "cpu") -> Found:
    """Search for where NET with ``new`` for ``old`` departs from NET."""
    assert old in NET

    def make(side: str, activations: str) -> Timeline:
        if side == "exact":
            return timelines.of(NET, "cpu", "float64", activations)
        text = NET.replace(old, new) if side == "second" else NET
        return timelines.of(text, device, "float32", activations)

    return search(make, Allowance(), exact=True)


def divergence(found: Found) -> tuple[Divergence, OpDivergence]:
    assert found.activations.divergence is not None
    assert found.op is not None
    return found.activations.divergence, found.op


@pytest.mark.forms(1)
@pytest.mark.parametrize("device", ["cpu", "sim:hpu"])
def test_a_wrong_axis_is_named_with_its_line(timelines: Timelines, device: str) -> None:
    module, op = divergence(compare(timelines, "dim=1", "dim=2", device=device))

    assert module.inside is not None
    assert (module.inside.path, module.inside.call) == ("Net.blocks.0", 0)
    assert (op.op.name, op.op.site) == ("aten._softmax.default", "net.py:14")
    assert op.op.source == "gate = torch.softmax(h, dim=2)"
    assert op.operands_agree


def test_a_detour_through_half_precision_is_named(timelines: Timelines) -> None:
    module, op = divergence(compare(timelines, "self.norm(x))", "self.norm(x).half().float())"))

    assert module.inside is not None
    assert module.inside.path == "Net.blocks.0"
    assert [each.name for each in op.only_second] == ["aten._to_copy.default"] * 2
    assert op.only_second[0].arguments == "(%0, dtype=float16)"


def test_operands_swapped_outside_any_module_are_named(timelines: Timelines) -> None:
    module, op = divergence(compare(timelines, "(b - a)", "(a - b)"))

    assert (module.activation.kind, module.activation.path) == ("record", "guided")
    assert module.inside is None
    assert (op.op.name, op.op.site) == ("aten.sub.Tensor", "net.py:31")
    assert [operand.text for operand in op.operands] == [
        "is the counterpart's %1",
        "is the counterpart's %0",
    ]


@pytest.mark.slow
def test_a_wrong_operand_is_named_with_what_it_is(timelines: Timelines) -> None:
    _, op = divergence(compare(timelines, "h * gate", "x * gate"))

    assert (op.op.name, op.op.site) == ("aten.mul.Tensor", "net.py:15")
    assert op.operands[0].text == "another value than the counterpart's: an input of Net"


def test_weights_that_differ_are_traced_back_to_where_they_were_made(timelines: Timelines) -> None:
    found = compare(timelines, "Net(nn.Module)", "Net(nn.Module)")  # the same level
    assert found.activations.divergence is None

    found = compare(timelines, "self.out", "self.head")  # alive() draws by name
    module, op = divergence(found)

    assert module.activation.path == "Net.head"
    assert module.counterpart.path == "Net.out"
    assert found.wide
    assert (op.op.name, op.op.site) == ("aten.randn.generator", "probe/probe_file.py:6")


def test_another_form_of_the_same_layer_is_no_divergence(timelines: Timelines) -> None:
    form = "torch.nn.functional.layer_norm(x, x.shape[1:])"
    old = "self.norm(x)"
    weighted = (
        f"torch.addcmul(self.norm.bias[:, None, None], {form}, self.norm.weight[:, None, None])"
    )

    found = compare(timelines, old, weighted)

    assert found.activations.divergence is None
    assert found.runs.alignment.only_first == ("Net.blocks.0.norm", "Net.blocks.1.norm")
    assert found.activations.compared > 10


def test_a_layer_of_another_class_in_the_same_place_is_compared(timelines: Timelines) -> None:
    old = "nn.GroupNorm(1, width)"
    module, op = divergence(compare(timelines, old, "nn.GroupNorm(2, width)"))
    assert module.activation.path == "Net.blocks.0.norm"

    module, op = divergence(compare(timelines, old, "nn.LayerNorm([width, 6, 4], bias=False)"))

    assert module.activation.class_name == "LayerNorm"
    assert module.counterpart.class_name == "GroupNorm"
    assert [each.name for each in op.only_second] == ["aten.native_layer_norm.default"]
    assert [each.name for each in op.only_first] == ["aten.native_group_norm.default"]


def test_a_script_probe_is_searched_too(single: SingleRun) -> None:
    script = """
        import torch
        from net import Net, guide
        torch.manual_seed(1)
        net = Net().requires_grad_(False)
        torch.save(guide(net(torch.randn(2, 8, 6, 4)), torch.ones(2, 4), 3.0), "out.pt")
        """
    probe = """
        import torch
        def run(probe):
            probe.script("sample.py")
            probe.record("out", torch.load("out.pt"))
        """

    def make(side: str, activations: str) -> Timeline:
        text = NET.replace("* gate", "* gate * 1.01") if side == "second" else NET
        files = {"net.py": text, "sample.py": script}
        single.trace(probe, files, dtype="native", activations=activations)
        return read_timeline(single.left)

    module, op = divergence(search(make, Allowance(), exact=False))

    assert module.activation.path == "Net.blocks.0"
    assert module.activation.site == "net.py:26"
    assert [each.arguments for each in op.only_second] == ["(%0, 1.01)"]
