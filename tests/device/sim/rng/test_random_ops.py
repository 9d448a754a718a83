"""Random streams: the device's own, and CUDA's real numbers on sim:cuda."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from porter.device.sim.activate import simulated
from porter.device.sim.rng import philox

# torch.manual_seed(0); torch.rand(..., device="cuda") on NVIDIA GPUs, first and second call, as
# printed in several public repositories (four decimals).
RAND_0 = "0.3990 0.5167 0.0249 0.9401 0.9459 0.7967 0.4150 0.8203 0.2290 0.9096 0.1183 0.0752"
RAND_0_AGAIN = "0.9722 0.7910 0.4690 0.3300 0.3345 0.3783 0.7640 0.6405 0.1103 0.3594"
# torch.manual_seed(0); torch.randn(12, device="cuda"), as published with the web UI's emulation.
RANDN_0 = (
    "-0.92466259 -0.42534415 -2.6438457 0.14518388 -0.12086647 -0.57972564 "
    "-0.62285122 -0.32838709 -1.07454231 -0.36314407 -1.67105067 2.26550497"
)
# torch.manual_seed(10); torch.randn(3, device="cuda"): pytorch/pytorch issue 79496.
RANDN_10 = "-0.1029 1.6810 -0.2708"


def _numbers(text: str) -> torch.Tensor:
    return torch.tensor([float(word) for word in text.split()])


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_words_of_the_random123_test_vectors(
    counter: str, key: str, words: str
) -> None:
    start = tuple(torch.tensor([int(word, 16)]) for word in counter.split())
    first, second = (int(word, 16) for word in key.split())
    found = philox.philox(start, (first, second))
    assert " ".join(f"{int(word):08x}" for word in found) == words


def test_cuda_rand_and_randn_are_the_published_numbers() -> None:
    with simulated("cuda"):
        torch.manual_seed(0)
        first, second = torch.rand(12, device="cuda"), torch.rand(10, device="cuda")
        torch.manual_seed(0)
        normal = torch.randn(3, 4, device="cuda")
        torch.cuda.manual_seed(10)
        other = torch.randn(3, device="cuda")
        assert torch.allclose(first.cpu(), _numbers(RAND_0), rtol=0, atol=5e-5)
        assert torch.allclose(second.cpu(), _numbers(RAND_0_AGAIN), rtol=0, atol=5e-5)
        assert torch.allclose(normal.cpu().flatten(), _numbers(RANDN_0), rtol=0, atol=1e-6)
        assert torch.allclose(other.cpu(), _numbers(RANDN_10), rtol=0, atol=5e-5)


def test_threads_write_to_elements_a_grid_apart_on_large_tensors() -> None:
    gpu = philox.GpuShape("tiny", processors=1, threads_per_processor=256)
    numbers = philox.uniform(256 * 5, seed=0, offset=0, gpu=gpu)
    words = [
        philox.philox(tuple(torch.tensor([n]) for n in (counter, 0, 3, 0)), (0, 0))
        for counter in (0, 1)
    ]
    drawn = [int(word) * 2.0**-32 for word in (*words[0], words[1][0])]
    assert numbers[3::256].tolist() == pytest.approx(drawn, abs=1e-7)
    assert philox.offset_step(256 * 5, gpu) == 8
    assert philox.offset_step(256 * 4, gpu) == 4


def test_a_generator_moves_by_pytorchs_offsets() -> None:
    with simulated("cuda"):
        generator = torch.Generator(device="cuda").manual_seed(0)
        torch.rand(5, device="cuda", generator=generator)
        assert generator.get_offset() == 4
        assert generator.get_state().tolist() == [0] * 8 + [4] + [0] * 7
        torch.rand(221_184 * 4 + 1, device="cuda", generator=generator)
        assert generator.get_offset() == 12


def test_the_stream_is_the_devices_own_and_repeats(kind: str) -> None:
    def draw(device: str) -> list[float]:
        torch.manual_seed(3)
        return torch.randn(100, device=device).tolist()

    assert draw(kind) == draw(kind)
    assert draw(kind) != draw("cpu")


def test_devices_draw_different_numbers_from_one_seed() -> None:
    drawn = []
    for kind in ("cuda", "hpu", "npu"):
        with simulated(kind):
            torch.manual_seed(0)
            drawn.append(tuple(torch.rand(4, device=kind).tolist()))
    assert len(set(drawn)) == 3


def test_drawing_on_the_device_leaves_the_cpus_stream_alone(kind: str) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    torch.rand(3, device=kind)
    torch.nn.functional.dropout(torch.ones(9, device=kind))
    torch.randperm(5, device=kind)
    assert torch.equal(torch.rand(3), expected)


def test_an_op_that_draws_nothing_leaves_the_stream_where_it_was(kind: str) -> None:
    query = torch.ones(1, 2, 4, 8, device=kind)
    torch.manual_seed(3)
    expected = torch.rand(4, device=kind)
    torch.manual_seed(3)
    torch.nn.functional.scaled_dot_product_attention(query, query, query)
    assert torch.equal(torch.rand(4, device=kind), expected)
    torch.manual_seed(3)
    torch.nn.functional.scaled_dot_product_attention(query, query, query, dropout_p=0.5)
    assert not torch.equal(torch.rand(4, device=kind), expected)


def test_random_ops_are_repeatable_and_look_right(kind: str) -> None:
    def draw() -> list[torch.Tensor]:
        torch.manual_seed(1)
        x = torch.empty(20_000, device=kind)
        drawn = [torch.randint(0, 10, (20_000,), device=kind), torch.randperm(50, device=kind)]
        drawn += [x.clone().uniform_(-1, 3), x.clone().normal_(2, 3), x.clone().exponential_(2)]
        drawn += [x.clone().bernoulli_(0.25), torch.multinomial(torch.ones(9, device=kind), 4)]
        return [tensor.cpu() for tensor in drawn]

    first, second = draw(), draw()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    means = [float(first[i].double().mean()) for i in (0, 2, 3, 4, 5)]
    assert means == pytest.approx([4.5, 1, 2, 0.5, 0.25], abs=0.07)
    assert sorted(first[1].tolist()) == list(range(50))
    assert float(first[3].std()) == pytest.approx(3, abs=0.07)


def test_generators_are_of_their_device(kind: str) -> None:
    generator = torch.Generator(device=kind)
    assert generator.device.type == kind
    assert isinstance(generator, torch.Generator)
    assert isinstance(torch.default_generator, torch.Generator)
    if kind != "hpu":
        with pytest.raises(RuntimeError, match=f"Expected a '{kind}' device type for generator"):
            torch.rand(2, device=kind, generator=torch.Generator())
    first = torch.rand(2, device=kind, generator=generator.manual_seed(5))
    assert torch.equal(first, torch.rand(2, device=kind, generator=generator.manual_seed(5)))


def test_states_are_saved_and_restored(kind: str) -> None:
    module = getattr(torch, kind)
    state = module.get_rng_state()
    first = torch.rand(3, device=kind)
    module.set_rng_state(state)
    assert torch.equal(torch.rand(3, device=kind), first)
    generator = torch.Generator(device=kind).manual_seed(9)
    copies = [pickle.loads(pickle.dumps(generator)), copy.deepcopy(generator)]
    drawn = [torch.rand(3, device=kind, generator=each) for each in (generator, *copies)]
    assert all(torch.equal(each, drawn[0]) for each in drawn)


def test_second_device_has_its_own_generator(kind: str) -> None:
    module = getattr(torch, kind)
    module.manual_seed(4)
    with module.device(1):
        module.manual_seed(4)
    first = torch.rand(3, device=f"{kind}:0")
    assert torch.equal(first.cpu(), torch.rand(3, device=f"{kind}:1").cpu())


def test_half_and_permuted_tensors_draw_the_same_stream_in_memory_order(kind: str) -> None:
    torch.manual_seed(0)
    full = torch.randn(2, 3, 4, 4, device=kind)
    torch.manual_seed(0)
    half = torch.randn(2, 3, 4, 4, device=kind, dtype=torch.float16)
    assert torch.equal(full.half(), half)
    torch.manual_seed(0)
    last = torch.empty(2, 4, 4, 3, device=kind).permute(0, 3, 1, 2).normal_()
    assert torch.equal(last.permute(0, 2, 3, 1).flatten(), full.flatten())


def test_checkpointed_dropout_recomputes_the_same_mask(kind: str) -> None:
    from torch.utils.checkpoint import checkpoint

    x = torch.ones(64, device=kind, requires_grad=True)
    y = checkpoint(torch.nn.functional.dropout, x, use_reentrant=False)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())


def test_hpu_draws_its_seed_from_a_cpu_generator() -> None:
    with simulated("hpu"):
        host = torch.Generator().manual_seed(3)
        first = torch.empty(4, device="hpu").uniform_(generator=host)
        second = torch.empty(4, device="hpu").uniform_(generator=host)
        again = torch.empty(4, device="hpu").uniform_(generator=host.manual_seed(3))
        assert torch.equal(first, again)
        assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", ["cuda", "hpu", "npu"])
def test_a_seed_that_torch_draws_is_the_devices_too(kind: str) -> None:
    with simulated(kind):
        module = getattr(torch, kind)
        before = module.initial_seed()
        assert torch.seed() == torch.initial_seed() == module.initial_seed() != before
        drawn = module.initial_seed()
        module.seed()
        assert torch.initial_seed() == drawn != module.initial_seed()
