"""Which device tensors are on, and what is refused when they are on several."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import porter
from porter.device.sim.core.machine import Machine, machines


def test_factories_put_tensors_on_the_device(kind: str) -> None:
    made = [
        torch.empty(2, device=kind),
        torch.zeros(2, device=kind),
        torch.randn(2, device=torch.device(kind)),
        torch.arange(3, device=f"{kind}:0"),
        torch.tensor([1.0], device=kind),
        torch.as_tensor([1.0], device=kind),
        torch.full((2,), 3, device=kind),
        torch.linspace(0, 1, 3, device=kind),
        torch.eye(2, device=kind),
        torch.tril_indices(2, 2, device=kind),
        torch.scalar_tensor(1, device=kind),
    ]
    assert {tensor.device for tensor in made} == {torch.device(kind, 0)}


def test_a_tensor_answers_where_it_is(kind: str) -> None:
    tensor = torch.ones(2, device=kind)
    assert tensor.device.type == kind
    assert tensor.device == torch.device(f"{kind}:0")
    assert getattr(tensor, f"is_{kind}")
    assert not tensor.is_cpu
    assert tensor.get_device() == 0
    assert tensor.type() == f"torch.{kind}.FloatTensor"
    assert [name for name in ("cuda", "hpu", "npu") if getattr(tensor, f"is_{name}")] == [kind]
    assert not getattr(torch.ones(2), f"is_{kind}")


def test_ops_views_and_gradients_stay_on_the_device(kind: str) -> None:
    x = torch.randn(4, 4, device=kind, requires_grad=True)
    y = (x.t()[1:].reshape(-1) * 2).exp().sum()
    y.backward()
    assert y.device.type == kind
    assert x.grad is not None
    assert x.grad.device.type == kind


def test_views_share_memory_and_in_place_changes_show(kind: str) -> None:
    base = torch.zeros(2, 3, device=kind)
    row = base[1]
    row.add_(5)
    base.unsqueeze_(0)
    assert base.shape == (1, 2, 3)
    assert base[0, 1].tolist() == [5, 5, 5]
    assert row.data_ptr() == base[0, 1].data_ptr()


def test_out_arguments_are_filled(kind: str) -> None:
    out = torch.empty(2, device=kind)
    returned = torch.add(torch.ones(2, device=kind), 1, out=out)
    assert returned is out
    assert out.tolist() == [2, 2]


@pytest.mark.parametrize("on_host", ["first", "second", "out", "list"])
def test_mixing_devices_raises_what_a_backend_raises(kind: str, on_host: str) -> None:
    here, there = torch.ones(3, device=kind), torch.ones(3)
    calls = {
        "first": lambda: there + here,
        "second": lambda: here.mul_(there),
        "out": lambda: torch.add(here, here, out=there),
        "list": lambda: torch.cat([here, there]),
    }
    message = f"Expected all tensors to be on the same device.*{kind}:0 and cpu"
    with pytest.raises(RuntimeError, match=message):
        calls[on_host]()


def test_a_convolution_with_host_weights_names_both_types(kind: str) -> None:
    wanted = rf"Input type \(torch.{kind}.FloatTensor\) and weight type \(torch.FloatTensor\)"
    with pytest.raises(RuntimeError, match=wanted):
        F.conv2d(torch.ones(1, 1, 3, 3, device=kind), torch.ones(1, 1, 2, 2))


def test_scalars_on_the_host_mix_with_device_tensors(kind: str) -> None:
    scalar = torch.tensor(2.0)
    assert (torch.ones(2, device=kind) * scalar).tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="same device"):
        scalar.add_(torch.ones((), device=kind))


def test_indices_on_the_host_reach_a_device_tensor_but_not_the_other_way(kind: str) -> None:
    values = torch.arange(4, device=kind)
    assert values[torch.tensor([3, 0])].tolist() == [3, 0]
    with pytest.raises(RuntimeError, match="same device"):
        torch.arange(4)[torch.tensor([1], device=kind)]


def test_two_devices_are_apart(machine: Machine, kind: str) -> None:
    first, second = torch.ones(2, device=f"{kind}:0"), torch.ones(2, device=f"{kind}:1")
    with pytest.raises(RuntimeError, match=f"{kind}:0 and {kind}:1"):
        first + second
    assert (first.to(second.device) + second).device.index == 1
    with pytest.raises(RuntimeError, match="invalid device ordinal 2"):
        torch.ones(1, device=f"{kind}:2")
    with machine_module(kind).device(1):
        assert torch.ones(1, device=kind).device.index == 1
    assert machine.current_index == 0


def machine_module(kind: str) -> object:
    return getattr(torch, kind)


def test_numpy_is_refused_until_the_tensor_is_copied_to_the_host(kind: str) -> None:
    numpy = pytest.importorskip("numpy")
    tensor = torch.ones(2, device=kind)
    message = f"can't convert {kind}:0 device type tensor to numpy"
    with pytest.raises(TypeError, match=message):
        tensor.numpy()
    with pytest.raises(TypeError, match=message):
        numpy.asarray(tensor)
    assert tensor.cpu().numpy().tolist() == [1, 1]


def test_new_and_like_constructors_do_not_leak_to_the_host(kind: str) -> None:
    here = torch.ones(2, device=kind)
    made = [here.new_tensor([1, 2]), here.new(2), here.new_zeros(2), torch.zeros_like(here)]
    made += [torch.ones(2).type_as(here), torch.empty_like(torch.ones(2), device=kind)]
    assert {tensor.device.type for tensor in made} == {kind}
    assert torch.zeros_like(here, device="cpu").is_cpu


def test_default_device_and_device_context_are_followed(kind: str) -> None:
    with torch.device(kind):
        made = [torch.ones(2), torch.tensor([1]), torch.as_tensor([1]), torch.randn(2)]
    torch.set_default_device(kind)
    try:
        made.append(torch.nn.Linear(2, 2).weight)
    finally:
        torch.set_default_device(None)
    assert {tensor.device.type for tensor in made} == {kind}
    assert torch.ones(1).is_cpu


def test_printing_looks_like_the_device(kind: str) -> None:
    assert repr(torch.arange(2, device=kind)) == f"tensor([0, 1], device='{kind}:0')"
    half = torch.ones(1, device=kind, dtype=torch.float16)
    assert repr(half) == f"tensor([1.], device='{kind}:0', dtype=torch.float16)"
    assert f"{torch.tensor(0.5, device=kind):.2f}" == "0.50"


def test_composites_that_build_helpers_run_on_the_device(kind: str) -> None:
    x = torch.arange(6.0, device=kind)
    found = [
        torch.quantile(x, 0.5),
        x.quantile(torch.tensor([0.5], device=kind)),
        F.one_hot(torch.arange(3, device=kind)),
        torch.combinations(x),
        torch.linalg.matrix_rank(torch.eye(3, device=kind)),
        F.scaled_dot_product_attention(*[x.view(1, 1, 3, 2)] * 3, is_causal=True),
    ]
    assert {tensor.device.type for tensor in found} == {kind}
    assert int(found[4]) == 3


def test_gradients_that_formulas_make_on_the_host_come_back(kind: str) -> None:
    x = torch.tensor([1.0, 0.0, 2.0], device=kind, requires_grad=True)
    torch.sgn(x).sum().backward()
    (other,) = torch.autograd.grad(torch.cumprod(x, 0).sum(), x)
    assert x.grad is not None
    assert {x.grad.device.type, other.device.type} == {kind}


def test_einops_rearranges_device_tensors(kind: str) -> None:
    einops = pytest.importorskip("einops")
    x = torch.arange(6.0, device=kind)
    assert einops.rearrange(x, "(a b) -> b a", a=2).device.type == kind
    assert einops.repeat(x, "a -> a 2").shape == (6, 2)


def test_plain_cpu_code_is_untouched(kind: str) -> None:
    x = torch.ones(2)
    assert type(x.to(torch.float64)) is torch.Tensor
    assert type(torch.tensor([1])) is torch.Tensor
    assert type(pickle.loads(pickle.dumps(x))) is torch.Tensor
    assert torch.quantile(torch.arange(3.0), 0.5) == 1


def test_the_type_of_a_tensor_equals_torch_tensor_as_on_a_real_device(kind: str) -> None:
    cls, other = type(torch.ones(2, device=kind)), type(torch.ones(2, device=f"{kind}:1"))
    assert (cls == torch.Tensor, torch.Tensor == cls, cls != torch.Tensor) == (True, True, False)
    assert cls != other
    assert {torch.Tensor: "cpu"}.get(cls) is None


def test_a_machine_holds_its_own_tensors_only(kind: str) -> None:
    machine = machines[kind]
    assert machine.holds(torch.ones(2, device=kind))
    assert machine.holds(torch.ones(2, device=f"{kind}:1"))
    assert not machine.holds(torch.ones(2))


def test_no_module_looks_a_type_up_among_the_classes_of_a_machine() -> None:
    """The classes equal ``torch.Tensor``, so ``in`` finds the plain class in any collection."""
    found = []
    for path in sorted(Path(porter.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
                right = ast.unparse(node.comparators[0])
                if right.split(".")[-1] in ("classes", "operand_types"):
                    found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert found == []


def test_a_copy_of_a_single_number_from_the_host_is_a_copy(kind: str) -> None:
    machine = machines[kind]
    seen: list[str] = []
    machine.on_transfer = lambda transfer: seen.append(transfer.direction)
    torch.ones((), device=kind).copy_(torch.tensor(2.0))
    assert seen == ["h2d"]
