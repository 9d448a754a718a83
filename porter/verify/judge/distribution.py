"""Whether two samples come from one distribution: the two-sample Kolmogorov-Smirnov test.

D is the greatest distance between the two samples' empirical distribution functions. The p-value is
the probability of a D at least as great when both samples, of n and m values, come from one
continuous distribution:

- exactly, as the share of the lattice paths from (0, 0) to (n, m) that leave the band where
  |i/n - j/m| < D (Hodges, "The significance probability of the Smirnov two-sample test", Arkiv for
  Matematik 3, 1958), while n + m is at most EXACT;
- beyond that from Kolmogorov's limit with Stephens' correction for finite samples,
  Q((s + 0.12 + 0.11 / s) D), s = sqrt(nm / (n + m)), Q(t) = 2 sum (-1)^(k-1) exp(-2 k^2 t^2)
  (Stephens, Journal of the Royal Statistical Society B 32, 1970).

With ties (integers, half precision) the true probability is smaller: the test then rejects less.
"""

from __future__ import annotations

import math

import torch

from porter.verify.judge.result import Outcome, vacuous
from porter.verify.judge.tensors import nonfinite
from porter.verify.recipe.claims import SameDistribution

EXACT = 2_000
"""Up to this many values in both samples together the p-value is exact."""


def distance(x: torch.Tensor, y: torch.Tensor) -> int:
    """Return D of two samples (any shape) times n times m, a whole number."""
    one, other = x.double().flatten().sort().values, y.double().flatten().sort().values
    n, m = one.numel(), other.numel()
    values = torch.cat((one, other))
    below_one = torch.searchsorted(one, values, right=True)
    below_other = torch.searchsorted(other, values, right=True)
    return int((below_one * m - below_other * n).abs().max())


def p_value(gap: int, n: int, m: int) -> float:
    """Return the probability of a D of at least ``gap`` / (n m) for samples of n and m values."""
    if gap <= 0:
        return 1.0
    if n + m <= EXACT:
        return _exact(gap, n, m)
    s = math.sqrt(n * m / (n + m))
    t = (s + 0.12 + 0.11 / s) * gap / (n * m)
    terms = [(-1) ** (k - 1) * math.exp(-2 * k * k * t * t) for k in range(1, 101)]
    return min(1.0, max(0.0, 2 * math.fsum(terms)))


def _exact(gap: int, n: int, m: int) -> float:
    """Follow the paths through the n by m grid, all equally likely; add up what leaves the band.

    After k steps ``inside[i]`` is the probability of being at (i, k - i) without having left. Only
    probabilities are added, so neither great samples nor small results lose digits.
    """
    n, m = min(n, m), max(n, m)
    i = torch.arange(n + 1, dtype=torch.float64)
    inside = torch.zeros(n + 1, dtype=torch.float64)
    inside[0] = 1.0
    left = 0.0
    for k in range(n + m):
        onward = inside * (n - i) / (n + m - k)
        inside = inside * (m - k + i) / (n + m - k)
        inside[1:] += onward[:-1]
        outside = (i * m - (k + 1 - i) * n).abs() >= gap
        left += float(inside[outside].sum())
        inside[outside] = 0.0
    return min(1.0, left)


def judge_distribution(
    kind: SameDistribution, found: torch.Tensor, reference: torch.Tensor
) -> Outcome:
    """Hold a sample to come from the reference's distribution, as far as the test can tell."""
    if bad := nonfinite(found):
        return Outcome(False, "p", 0.0, kind.p, bad, lower=True)
    n, m = found.numel(), reference.numel()
    least = math.exp(math.log(2) + math.lgamma(n + 1) + math.lgamma(m + 1) - math.lgamma(n + m + 1))
    if least >= kind.p:
        return vacuous(
            f"could not fail: samples of {n} and {m} values never give a p-value below "
            f"{least:.2g}; the claim asks for {kind.p:g}"
        )
    middle = torch.full_like(reference.double(), float(reference.double().median()))
    if (constant := p_value(distance(middle, reference), n, m)) >= kind.p:
        return vacuous(
            f"could not fail: with {n} and {m} values a constant (the median) has p {constant:.2g}"
        )
    gap = distance(found, reference)
    p = p_value(gap, n, m)
    detail = f"D = {gap / (n * m):.4g} of {n} and {m} values"
    return Outcome(p >= kind.p, "p", p, kind.p, detail, lower=True)
