"""Philox 4x32-10 and the random numbers that PyTorch draws with it on CUDA.

Source of the generator: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3"
(SC11), checked against the Random123 test vectors. Source of the layout: PyTorch's
``aten/src/ATen/native/cuda/DistributionTemplates.h`` (grid, stride, offset) and cuRAND's
``curand_uniform4``, ``curand_normal4`` (32-bit word to float, Box-Muller).

A kernel of ``numel`` elements runs a grid of G = min(ceil(numel / 256), processors * threads / 256)
blocks of 256 threads. Thread ``t`` uses Philox subsequence ``t`` at the generator's offset, draws
four numbers at a time, writes them to elements t, t + 256 G, t + 512 G, t + 768 G, and repeats. So
the stream of tensors larger than the grid depends on the GPU; :data:`ASSUMED_GPU` is assumed here.

``rand`` in float32 is exact. ``randn`` goes through ``__sincosf`` on a GPU, an approximation of the
hardware's special function unit, which a CPU cannot reproduce to the last bit: the numbers agree to
about 1e-6 absolute. Here they are computed in float64 and rounded once, so they are the same
on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

BLOCK = 256
WORDS = 4
"""Numbers drawn at a time; also the step of the generator's offset per draw."""

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_TO_UNIT = 2.3283064365386963e-10  # 2**-32, as the float32 constant in curand
_TO_ANGLE = 1.462918119976564e-09  # the float32 product 2.3283064e-10f * 6.2831855f


@dataclass(frozen=True, slots=True)
class GpuShape:
    """The properties of a GPU that determine its random stream."""

    name: str
    processors: int
    threads_per_processor: int

    @property
    def most_blocks(self) -> int:
        return self.processors * (self.threads_per_processor // BLOCK)


ASSUMED_GPU = GpuShape("NVIDIA A100", processors=108, threads_per_processor=2048)


def _multiply(word: torch.Tensor, constant: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (high, low) 32 bits of the 64-bit products of 32-bit words held in int64.

    The constant is split so that no intermediate leaves the signed 64-bit range.
    """
    lower = word * (constant & 0xFFFF)
    upper = word * (constant >> 16) + (lower >> 16)
    return upper >> 16, ((upper & 0xFFFF) << 16) | (lower & 0xFFFF)


def philox(
    counter: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], key: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Run ten rounds of Philox 4x32 on four int64 tensors of 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def grid_blocks(numel: int, gpu: GpuShape = ASSUMED_GPU) -> int:
    """Return the number of blocks of the kernel that fills ``numel`` elements."""
    return min(-(-numel // BLOCK), gpu.most_blocks)


def offset_step(numel: int, gpu: GpuShape = ASSUMED_GPU) -> int:
    """Return how far drawing ``numel`` elements advances the generator's offset."""
    if numel == 0:
        return 0
    return ((numel - 1) // (BLOCK * grid_blocks(numel, gpu) * WORDS) + 1) * WORDS


def random_words(
    numel: int, seed: int, offset: int, gpu: GpuShape = ASSUMED_GPU
) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], int]:
    """Return a kernel's 32-bit words, as four tensors (rounds, threads), and its thread count."""
    threads = BLOCK * grid_blocks(numel, gpu)
    rounds = -(-numel // (threads * WORDS))
    used = min(threads, numel)
    draw = offset // WORDS + torch.arange(rounds, device="cpu").unsqueeze(1).expand(rounds, used)
    thread = torch.arange(used, device="cpu").expand(rounds, used)
    zero = torch.zeros_like(thread)
    words = philox((draw & _MASK, draw >> 32, thread, zero), (seed & _MASK, (seed >> 32) & _MASK))
    return words, threads


def lay_out(columns: list[torch.Tensor], numel: int, threads: int) -> torch.Tensor:
    """Arrange what the threads drew: thread t writes element t + threads * (4 round + k)."""
    rounds = columns[0].shape[0]
    if numel <= threads:  # one round, and only the first word lands in the tensor
        return columns[0][0]
    return torch.stack(columns, dim=1).reshape(rounds * WORDS * threads)[:numel]


def uniform(numel: int, seed: int, offset: int, gpu: GpuShape = ASSUMED_GPU) -> torch.Tensor:
    """Return the float32 numbers in (0, 1] that ``curand_uniform4`` gives the kernel."""
    words, threads = random_words(numel, seed, offset, gpu)
    wanted = words if numel > threads else words[:1]
    # word -> float32 (rounded), then one fused multiply-add: in float64 both steps are exact.
    columns = [
        (word.to(torch.float32).to(torch.float64) * _TO_UNIT + _TO_UNIT / 2).to(torch.float32)
        for word in wanted
    ]
    return lay_out(columns, numel, threads)


def normal(numel: int, seed: int, offset: int, gpu: GpuShape = ASSUMED_GPU) -> torch.Tensor:
    """Return the standard normal float32 numbers that ``curand_normal4`` gives the kernel."""
    words, threads = random_words(numel, seed, offset, gpu)
    pairs = [(words[0], words[1]), (words[2], words[3])][: 2 if numel > threads else 1]
    columns = []
    for first, second in pairs:
        u = (first.to(torch.float32).double() * _TO_UNIT + _TO_UNIT / 2).float().double()
        v = (second.to(torch.float32).double() * _TO_ANGLE + _TO_ANGLE / 2).float().double()
        radius = (-2.0 * u.log()).sqrt()
        columns += [(radius * v.sin()).float(), (radius * v.cos()).float()]
    return lay_out(columns, numel, threads)


def salted_seed(seed: int, salt: int) -> int:
    """Return the key that a device with this salt uses for a seed; salt 0 keeps the seed."""
    if salt == 0:
        return seed & 0xFFFFFFFFFFFFFFFF
    # splitmix64's finaliser: a bijection, so different seeds stay different.
    mixed = (seed + salt * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return mixed ^ (mixed >> 31)
